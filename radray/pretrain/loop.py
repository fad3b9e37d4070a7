"""The training loop: any method, one process or many, without Ray (radray/pretrain/stage.py brings Ray Train)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from lightly.utils import dist

from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.byol import BYOL
from radray.pretrain.collapse import collapse_indicators
from radray.pretrain.method import Method
from radray.pretrain.optimiser import build_optimiser, learning_rate
from radray.pretrain.recipes import Recipe
from radray.pretrain.samples import Batch, Samples, Slice
from radray.pretrain.simclr import SimCLR
from radray.pretrain.step import Step, Summed, mean_over_ranks
from radray.pretrain.supcon import SupCon
from radray.pretrain.supervised import Supervised
from radray.views.gauge import GaugeLibrary, synthetic_gauges

ASK_EVERY = 10
"""Steps between questions whether a checkpoint is due."""
LOG_EVERY_S = 5.0
"""Seconds between calls of `log` in a short run; a long one logs about 200 times an e-fold of its time."""


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
    position, number = _restore(method, optimiser, state)
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
    step = Step(method, recipe, wanted, (gauges or synthetic_gauges(data.side_px, seed=seed)).to(device), device)
    coming = _Coming(data.batches(wanted))
    watch = _Watch(position, end, samples, recipe)
    before: Summed | None = None
    while position < end:
        rate = learning_rate(position, end, batch, recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        summed = step.gradients(coming, title, number)
        if before is not None:  # a step later, so that a GPU need not wait for it
            before.require_finite(data)
        before = summed
        mean = mean_over_ranks(summed.loss)
        optimiser.step()
        position, number = position + batch, number + 1
        method.after_step(min(1.0, position / end))
        is_last = position >= end
        # Asking rank 0 waits for its GPU: not at every step.
        asks = save is not None and not is_last and (not recipe.checkpoint_every_s or number % ASK_EVERY == 0)
        due_save = asks and _agree(watch.wants_checkpoint(), device)
        if is_last or due_save:
            summed.require_finite(data)
        if rank == 0:
            metrics: dict[str, float] = {}
            if monitor is not None and (watch.wants_monitor(position) or is_last):
                metrics = monitor(method.backbone)
                step.network.train()
            if log is not None and (metrics or is_last or watch.wants_line()):
                log(
                    {
                        "step": number,
                        "position": position,
                        "samples": end,
                        "epoch": position / samples,
                        "epochs": end / samples,
                        "loss": float(mean),
                        "learning_rate": rate,
                        "gradient_norm": float(summed.norm),
                        "workers": world,
                        "part_size": part,
                        **collapse_indicators(method.embeddings),
                        **metrics,
                        **watch.pace(position, coming.waited_s),
                    }
                )
        if save is not None and due_save:
            save(
                {
                    "seed": seed,
                    "epoch": position // samples,
                    "position": position,
                    "step": number,
                    "method": method.state_dict(),
                    "optimiser": optimiser.state_dict(),
                }
            )
            watch.saved()
    return method


class _Coming:
    """The same batches; the next one is read while the one before is trained on."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.waited_s = 0.0
        self._batches = self._ahead(batches)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        asked = time.monotonic()
        taken = next(self._batches)
        self.waited_s += time.monotonic() - asked
        return taken

    @staticmethod
    def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = pool.submit(next, batches, None)
                yield batch


class _Watch:
    """When to look at the features, write a line and save; and how fast it goes."""

    def __init__(self, position: int, end: int, samples: int, recipe: Recipe) -> None:
        self._begun, self._end, self._samples, self._recipe = position, end, samples, recipe
        self._started = self._logged = self._saved = time.monotonic()
        self._looks = self._looks_due(position)

    def _looks_due(self, position: int) -> int:
        every = self._recipe.monitor_epochs
        return int(position / (every * self._samples)) if every else 0

    def wants_monitor(self, position: int) -> bool:
        due = self._looks_due(position)
        found, self._looks = due > self._looks, due
        return found

    def wants_line(self) -> bool:
        now = time.monotonic()
        return now - self._logged >= max(LOG_EVERY_S, (now - self._started) / 200)

    def pace(self, position: int, waited_s: float) -> dict[str, float]:
        """Counts from this start on; called for every line that is written."""
        self._logged = time.monotonic()
        elapsed = self._logged - self._started
        speed = (position - self._begun) / elapsed
        return {
            "began_at": self._begun,
            "images_per_s": speed,
            "waiting_share": waited_s / elapsed,
            "eta_s": max(0.0, (self._end - position) / speed),
        }

    def wants_checkpoint(self) -> bool:
        return time.monotonic() - self._saved > self._recipe.checkpoint_every_s

    def saved(self) -> None:
        self._saved = time.monotonic()


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
