"""The training loop: any method, one process or many, without Ray (radray/pretrain/stage.py brings Ray Train)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightly.utils import dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.byol import BYOL
from radray.pretrain.method import Method
from radray.pretrain.order import StudyMates, batch_indices
from radray.pretrain.recipes import Recipe
from radray.pretrain.simclr import SimCLR
from radray.pretrain.supcon import SupCon
from radray.pretrain.supervised import Supervised
from radray.views.augment import draw_views, render_views
from radray.views.gauge import synthetic_gauges

LOG_EVERY_S = 5.0
"""Seconds between calls of `log`."""


class DivergedError(RuntimeError):
    """The loss is not a number; the message names the batch's images."""


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """The images of a run, the same on every rank."""

    images: NDArray[np.uint8]
    """UInt8[samples, side, side]; may be memory-mapped."""
    labels: NDArray[np.int64]
    """Int64[samples]; −1 where there is no label."""
    uris: list[str]
    """Their URLs, to name a batch that cannot be trained on."""
    regions: tuple[str, ...]
    """Names of the classes."""
    studies: NDArray[np.int64] | None = None
    """Int64[samples]: number of each image's study, −1 where unknown; None where nothing is known."""


State = dict[str, Any]
"""A checkpoint: step, weights, optimiser. With the seed it is all that going on needs."""


def build_method(name: str, recipe: Recipe, regions: int, seed: int) -> Method:
    """A method with fresh weights drawn from `seed`.

    Raises:
        ConfigError: Unknown backbone.
    """
    torch.manual_seed(seed)
    backbone = Backbone(recipe.backbone, recipe.side_px)
    if name == "simclr":
        return SimCLR(backbone, recipe.temperature)
    if name == "byol":
        return BYOL(backbone, recipe.byol_momentum)
    if name == "supcon":
        return SupCon(backbone, recipe.temperature)
    return Supervised(backbone, regions, recipe.label_smoothing)


def total_steps(recipe: Recipe, samples: int, method: str, few_labels: bool) -> int:
    """Optimiser steps of a run: whole epochs over the samples, or the recipe's fixed number for few labels."""
    if few_labels and method == "supervised":
        return recipe.budget_steps
    own = {"supervised": recipe.supervised_epochs, "byol": recipe.byol_epochs, "supcon": recipe.supcon_epochs}
    epochs = own.get(method, recipe.epochs)
    return max(1, math.ceil(epochs * samples / recipe.batch_size))


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up from 0, then half a cosine down to 0."""
    warm = max(1, int(recipe.warmup * steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _optimiser(method: Method, recipe: Recipe) -> torch.optim.AdamW:
    trained = [value for value in method.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster there: GPUs, and CPUs with AMX tiles."""
    return device.type == "cuda" or bool(torch.cpu._is_amx_tile_supported())


def train(
    method: Method,
    data: TrainingSet,
    recipe: Recipe,
    *,
    seed: int,
    steps: int,
    device: torch.device,
    title: str,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    log: Callable[[dict[str, float]], None] | None = None,
) -> Method:
    """Train in place and return the method.

    Args:
        method: Fresh weights (`build_method`); `state` replaces them.
        data: The same on every rank.
        recipe: Settings.
        seed: Of the order and the views.
        steps: Optimiser steps in all.
        device: Of this rank.
        title: What messages call the run.
        state: A checkpoint to go on from.
        save: Called on every rank with a checkpoint every `recipe.checkpoint_every_s`; rank 0 decides when.
        log: Called on rank 0 every `LOG_EVERY_S` and after the last step, with the metrics of that step.

    Raises:
        ConfigError: Batch larger than the data or not divisible by the ranks; checkpoint of another architecture.
        DivergedError: The loss is not a number.
    """
    samples, world, rank, batch = len(data.images), dist.world_size(), dist.rank(), recipe.batch_size
    if batch > samples:
        raise ConfigError(f"the batch of {batch} is larger than the {samples} training images; set --batch-size lower")
    if batch % world:
        raise ConfigError(f"the batch of {batch} cannot be shared by {world} workers; set a multiple of {world}")
    share = batch // world
    method.to(device).to(memory_format=torch.channels_last)
    optimiser = _optimiser(method, recipe)
    done = _restore(method, optimiser, state)
    network: nn.Module = method
    if world > 1:
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
        network = DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)
    gauges = synthetic_gauges(data.images.shape[-1], seed=seed).to(device)
    labels = torch.from_numpy(data.labels)
    half = bfloat16_pays(device)
    mates = StudyMates(data.studies) if data.studies is not None and method.takes_mates and recipe.study_mates else None
    started = logged_at = saved_at = time.monotonic()
    network.train()
    for step in range(done, steps):
        index = batch_indices(samples, seed, step * batch, batch, rank, world)
        pixels = _pixels(data, index, device)
        shown, views = index, []
        for view in range(method.views):
            if view == 1 and mates is not None:
                # Drawn for the global batch, so that the number of ranks changes nothing.
                everyone = mates.draw(
                    batch_indices(samples, seed, step * batch, batch), recipe.study_mates, (seed, step)
                )
                shown = everyone[rank * share : (rank + 1) * share]
                pixels = _pixels(data, shown, device)
            draws = draw_views(recipe.views, batch, len(gauges.grey), (seed, step, view))
            slice_ = draws.rows(rank * share, (rank + 1) * share)
            views.append(
                render_views(pixels, slice_, gauges, recipe.side_px).contiguous(memory_format=torch.channels_last)
            )
        rate = learning_rate(step, steps, recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss: Tensor = network(views, labels[index].to(device), step / steps)
        value = float(loss.detach())
        if not math.isfinite(value):
            seen = sorted({data.uris[number] for number in (*index, *shown)})
            raise DivergedError(f"{title}: the loss is {value} at step {step}; images: {seen}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(method.parameters(), recipe.clip_norm)
        optimiser.step()
        method.after_step((step + 1) / steps)
        last = step + 1 == steps
        if rank == 0 and log is not None and (last or time.monotonic() - logged_at >= LOG_EVERY_S):
            logged_at = time.monotonic()
            speed = (step + 1 - done) / (logged_at - started)
            log(
                {
                    "step": step + 1,
                    "steps": steps,
                    "epoch": (step + 1) * batch / samples,
                    "loss": value,
                    "learning_rate": rate,
                    "gradient_norm": float(norm),
                    "samples_per_s": speed * batch,
                    "eta_s": (steps - step - 1) / speed,
                }
            )
        if save is not None and not last and _agree(time.monotonic() - saved_at > recipe.checkpoint_every_s, device):
            save({"step": step + 1, "method": method.state_dict(), "optimiser": optimiser.state_dict()})
            saved_at = time.monotonic()
    return method


def _pixels(data: TrainingSet, index: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(data.images[index])).to(device)


def _restore(method: Method, optimiser: torch.optim.Optimizer, state: State | None) -> int:
    if state is None:
        return 0
    try:
        method.load_state_dict(state["method"])
    except RuntimeError as error:
        raise ConfigError(
            "the checkpoint in the run folder is of another architecture; choose another --output, or the old settings"
        ) from error
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _agree(due: bool, device: torch.device) -> bool:
    """Rank 0's answer, on every rank."""
    if dist.world_size() == 1:
        return due
    answer = torch.tensor([int(due)], device=device)
    torch.distributed.broadcast(answer, src=0)
    return bool(answer.item())


def progress_line(title: str, metrics: dict[str, float]) -> str:
    """One line about a running training: share done, loss, samples a second, time to go."""
    return (
        f"{title}: step {metrics['step']:,} of {metrics['steps']:,} · loss {metrics['loss']:.3f} · "
        f"{metrics['samples_per_s']:.0f} images/s · ETA {metrics['eta_s']:.0f} s"
    )
