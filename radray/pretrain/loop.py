"""The training loop: any method, one process or many, without Ray (radray/pretrain/stage.py brings Ray Train)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.batch_norm import synchronise_batch_norm
from radray.pretrain.byol import BYOL
from radray.pretrain.collapse import collapse_indicators
from radray.pretrain.method import Method
from radray.pretrain.optimiser import build_optimiser, learning_rate
from radray.pretrain.recipes import Recipe
from radray.pretrain.samples import Batch, Samples, Slice
from radray.pretrain.simclr import SimCLR
from radray.pretrain.supcon import SupCon
from radray.pretrain.supervised import Supervised
from radray.views.augment import draw_views, mix_seed, render_views, to_device
from radray.views.gauge import GaugeLibrary, synthetic_gauges

ASK_EVERY = 10
"""Steps between questions whether a checkpoint is due."""
LOG_EVERY_S = 5.0
"""Seconds between calls of `log` in a short run; a long one logs about 200 times an e-fold of its time."""


class DivergedError(ConfigError):
    """The loss is not a number; the message names the batch's images."""


State = dict[str, Any]
"""A checkpoint: seed, epoch, position (samples consumed by all ranks), step, weights, optimiser.

Order, views, learning rate and every other random number are functions of seed and position, so it is all that going
on needs, on any number of ranks.
"""


def build_method(name: str, recipe: Recipe, regions: int, seed: int) -> Method:
    """A method with fresh weights drawn from `seed`.

    Raises:
        ConfigError: Unknown backbone, or a side that it does not take.
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


def share_of_batch(recipe: Recipe, samples: int, world: int) -> int:
    """Images that each of `world` workers takes in one forward pass.

    Raises:
        ConfigError: The batch is larger than the data, or leaves less than two images to a worker.
    """
    if recipe.batch_size > samples:
        raise ConfigError(
            f"the batch of {recipe.batch_size} is larger than the {samples} training images; set --batch-size lower"
        )
    share = recipe.batch_size // (world * recipe.accumulate)
    if share < 2:
        parts = f" in {recipe.accumulate} parts" if recipe.accumulate > 1 else ""
        raise ConfigError(
            f"a batch of {recipe.batch_size} images{parts} leaves less than 2 to each of {world} workers; "
            "set --workers lower, or --batch-size higher where there are more images"
        )
    return share


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster there: GPUs that have them, and CPUs with AMX tiles."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported())


def train(
    method: Method,
    data: Samples,
    recipe: Recipe,
    *,
    seed: int,
    steps: int,
    device: torch.device,
    title: str,
    gauges: GaugeLibrary | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    log: Callable[[dict[str, float]], None] | None = None,
    monitor: Callable[[Backbone], dict[str, float]] | None = None,
) -> Method:
    """Train in place and return the method.

    An optimiser step takes `batch_size` samples, in `accumulate` parts, each shared evenly among the ranks; where they
    do not divide it, the batch is smaller by the remainder and the run takes more steps. The run ends when
    steps × batch_size samples are consumed; its last batch is full, with samples of the epoch to come.

    Args:
        method: Fresh weights (`build_method`); `state` replaces them.
        data: The same on every rank.
        recipe: Settings.
        seed: Of the order and the views.
        steps: Optimiser steps in all.
        device: Of this rank.
        title: What messages call the run.
        gauges: What to paste into views, on any device; None for the synthetic ones.
        state: A checkpoint to go on from.
        save: Called on every rank with a checkpoint every `recipe.checkpoint_every_s`; rank 0 decides when.
        log: Called on rank 0 from time to time and after the last step, with metrics.
        monitor: Called on rank 0 every `recipe.monitor_epochs` and after the last step; more metrics.

    Raises:
        ConfigError: Batch larger than the data or too small for the ranks; checkpoint of another architecture.
        DivergedError: The loss is not a number.
    """
    samples, world, rank = len(data), dist.world_size(), dist.rank()
    part = share_of_batch(recipe, samples, world) * world  # samples of all ranks in one forward pass
    batch = part * recipe.accumulate
    method.to(device).to(memory_format=torch.channels_last)
    optimiser = build_optimiser(method, recipe)
    position, step = _restore(method, optimiser, state)
    network = _distribute(method, recipe, device)
    library = (gauges or synthetic_gauges(data.side_px, seed=seed)).to(device)
    end = steps * recipe.batch_size
    wanted = Slice(
        seed=seed,
        position=position,
        end=position + math.ceil((end - position) / batch) * batch,  # the last step has all its parts
        batch=part,
        rank=rank,
        world=world,
        study_mates=recipe.study_mates if method.takes_mates else 0.0,
    )
    coming = _ahead(data.batches(wanted))
    half, begun = bfloat16_pays(device), position
    started = logged_at = saved_at = time.monotonic()
    waited = 0.0
    unchecked: Callable[[], None] | None = None
    monitored = _monitor_number(recipe, position, samples)
    network.train()
    while position < end:
        rate = learning_rate(position, end, batch, recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        value, seen = torch.zeros((), device=device), []
        for number in range(recipe.accumulate):
            asked = time.monotonic()
            taken = next(coming)
            waited += time.monotonic() - asked
            seen.append(taken)
            views = _views(taken, method.views, recipe, part, library, wanted, device)
            labels = to_device(torch.from_numpy(taken.labels), device)
            torch.manual_seed(mix_seed((seed, taken.position, rank)))  # stochastic depth, dropout
            last = number + 1 == recipe.accumulate
            with _no_sync(network) if world > 1 and not last else nullcontext():
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss: Tensor = network(views, labels) / recipe.accumulate
                loss.backward()  # type: ignore[no-untyped-call]
            value = value + loss.detach()
        norm = nn.utils.clip_grad_norm_(method.parameters(), recipe.clip_norm)
        if unchecked is not None:
            unchecked()
        mean = _mean_over_ranks(value)
        unchecked = partial(_check, norm, title, step, value, seen, data)
        optimiser.step()
        position, step = position + batch, step + 1
        method.after_step(min(1.0, position / end))
        is_last, now = position >= end, time.monotonic()
        due = is_last or now - logged_at >= max(LOG_EVERY_S, (now - started) / 200)
        metrics: dict[str, float] = {}
        # Asking rank 0 waits for its GPU: not at every step.
        asks = save is not None and not is_last and (not recipe.checkpoint_every_s or step % ASK_EVERY == 0)
        due_save = asks and _agree(now - saved_at > recipe.checkpoint_every_s, device)
        if is_last or due_save:
            unchecked()
        if rank == 0 and monitor is not None and (is_last or _monitor_number(recipe, position, samples) > monitored):
            metrics, due = monitor(method.backbone), True
            monitored = _monitor_number(recipe, position, samples)
            network.train()
        if rank == 0 and log is not None and due:
            speed = (position - begun) / (now - started)
            logged_at = now
            log(
                {
                    "step": step,
                    "position": position,
                    "samples": end,
                    "epoch": position / samples,
                    "epochs": end / samples,
                    "loss": float(mean),
                    "learning_rate": rate,
                    "gradient_norm": float(norm),
                    "workers": world,
                    "part_size": part,
                    "began_at": begun,
                    **collapse_indicators(method.embeddings),
                    **metrics,
                    "images_per_s": speed,
                    "waiting_share": waited / (now - started),
                    "eta_s": max(0.0, (end - position) / speed),
                }
            )
        if save is not None and due_save:
            save(
                {
                    "seed": seed,
                    "epoch": position // samples,
                    "position": position,
                    "step": step,
                    "method": method.state_dict(),
                    "optimiser": optimiser.state_dict(),
                }
            )
            saved_at = time.monotonic()
    return method


def _distribute(method: Method, recipe: Recipe, device: torch.device) -> nn.Module:
    if recipe.compile:
        method.backbone.network.compile()
    if dist.world_size() == 1:
        return method
    network: nn.Module = synchronise_batch_norm(method, device) if recipe.sync_batch_norm else method
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)


def _no_sync(network: nn.Module) -> Any:
    return network.no_sync()  # type: ignore[operator]


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; the next one is read while the one before is trained on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _views(
    taken: Batch,
    count: int,
    recipe: Recipe,
    part: int,
    library: GaugeLibrary,
    wanted: Slice,
    device: torch.device,
) -> list[Tensor]:
    """The views of this rank's images. Draws are made for all ranks together: their number changes nothing."""
    pixels = to_device(torch.from_numpy(taken.pixels), device)
    views = []
    for view in range(count):
        if view == 1 and taken.mate_pixels is not None:
            pixels = to_device(torch.from_numpy(taken.mate_pixels), device)
        draws = draw_views(recipe.views, part, len(library.grey), (wanted.seed, taken.position, view))
        mine = draws.rows(wanted.rank * wanted.share, (wanted.rank + 1) * wanted.share)
        rendered = render_views(pixels, mine, library, recipe.side_px)
        views.append(rendered.contiguous(memory_format=torch.channels_last))
    return views


def _mean_over_ranks(value: Tensor) -> Tensor:
    if dist.world_size() == 1:
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / float(dist.world_size())


def _monitor_number(recipe: Recipe, position: int, samples: int) -> int:
    """How many times the network should have been looked at when `position` samples are consumed."""
    return int(position / (recipe.monitor_epochs * samples)) if recipe.monitor_epochs else 0


def _check(norm: Tensor, title: str, step: int, value: Tensor, seen: list[Batch], data: Samples) -> None:
    """Stop a run that has gone wrong; called a step later, so that a GPU need not wait for this.

    The norm is that of the joined gradient: every rank sees the same, and all stop at the same step.
    """
    if math.isfinite(float(norm)):
        return
    names: set[str] = set()
    own = float(value)
    if not math.isfinite(own):
        for batch in seen:
            names.update(data.names(batch.rows))
            names.update(data.names(batch.mate_rows) if batch.mate_rows is not None else ())
    if dist.world_size() > 1:
        parts: list[Any] = [None] * dist.world_size()
        torch.distributed.all_gather_object(parts, (own, names))
        own = next((loss for loss, _ in parts if not math.isfinite(loss)), own)
        names = set().union(*(each for _, each in parts))
    what = f"loss is {own}" if names else "gradient is not finite"
    raise DivergedError(
        f"{title}: the {what} at step {step}; set --learning-rate lower, or look at these images: {sorted(names)}"
    )


def _restore(method: Method, optimiser: torch.optim.Optimizer, state: State | None) -> tuple[int, int]:
    if state is None:
        return 0, 0
    try:
        method.load_state_dict(state["method"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            "the checkpoint in the run folder is of another architecture; choose another --output, or the old settings"
        ) from error
    return int(state["position"]), int(state["step"])


def _agree(due: bool, device: torch.device) -> bool:
    """Rank 0's answer, on every rank."""
    if dist.world_size() == 1:
        return due
    answer = torch.tensor([int(due)], device=device)
    torch.distributed.broadcast(answer, src=0)
    return bool(answer.item())
