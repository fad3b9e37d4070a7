"""One optimiser step: the views, loss and gradients of a global batch, in parts, over all ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from radray.errors import ConfigError
from radray.pretrain.batch_norm import synchronise_batch_norm
from radray.pretrain.method import Method
from radray.pretrain.recipes import Recipe
from radray.pretrain.samples import Batch, Samples, Slice
from radray.views.augment import draw_views, mix_seed, render_views, to_device
from radray.views.gauge import GaugeLibrary


class DivergedError(ConfigError):
    """The loss is not a number; the message names the batch's images."""


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster there: GPUs that have them, and CPUs with AMX tiles."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported())


@dataclass(frozen=True, kw_only=True)
class Summed:
    """What the parts of one global batch came to on this rank."""

    loss: Tensor
    """Float[]: mean over the samples of this rank."""
    batches: list[Batch]
    """Its parts."""
    title: str
    """What messages call the run."""
    number: int
    """Of the step."""
    norm: Tensor
    """Float[]: of the joined gradient before it was clipped, the same on every rank."""

    def require_finite(self, data: Samples) -> None:
        """Stop a run that has gone wrong, on all ranks at the same step.

        Raises:
            DivergedError: The norm of the gradient is not finite.
        """
        if math.isfinite(float(self.norm)):
            return
        names: set[str] = set()
        own = float(self.loss)
        if not math.isfinite(own):
            for batch in self.batches:
                names.update(data.names(batch.rows))
                names.update(data.names(batch.mate_rows) if batch.mate_rows is not None else ())
        if dist.world_size() > 1:
            parts: list[Any] = [None] * dist.world_size()
            torch.distributed.all_gather_object(parts, (own, names))
            own = next((loss for loss, _ in parts if not math.isfinite(loss)), own)
            names = set().union(*(each for _, each in parts))
        what = f"the loss is {own}" if names else "the gradient is not finite"
        raise DivergedError(
            f"{self.title}: {what} at step {self.number}; set --learning-rate lower, or look at these images: "
            f"{sorted(names)}"
        )


class Step:
    """Gradients of the global batches that `wanted` describes.

    Args:
        method: On the device already.
        recipe: Settings.
        wanted: This rank's slices.
        library: Gauges on the device.
        device: Of this rank.
    """

    def __init__(
        self, method: Method, recipe: Recipe, wanted: Slice, library: GaugeLibrary, device: torch.device
    ) -> None:
        self.network = _distribute(method, recipe, device)
        self.network.train()
        self._method, self._recipe, self._wanted, self._library = method, recipe, wanted, library
        self._device, self._half = device, bfloat16_pays(device)

    def gradients(self, coming: Iterator[Batch], title: str, number: int) -> Summed:
        """Add the gradients of the next global batch, averaged over ranks and clipped, to the parameters' own."""
        loss, taken = torch.zeros((), device=self._device), []
        for turn in range(self._recipe.accumulate):
            taken.append(next(coming))
            views = self._views(taken[-1])
            labels = to_device(torch.from_numpy(taken[-1].labels), self._device)
            # Stochastic depth, dropout.
            torch.manual_seed(mix_seed((self._wanted.seed, taken[-1].position, self._wanted.rank)))
            is_last = turn + 1 == self._recipe.accumulate
            with self._exchange(is_last):
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                    part: Tensor = self.network(views, labels) / self._recipe.accumulate
                part.backward()  # type: ignore[no-untyped-call]
            loss = loss + part.detach()
        norm = nn.utils.clip_grad_norm_(self._method.parameters(), self._recipe.clip_norm)
        return Summed(loss=loss, batches=taken, title=title, number=number, norm=norm)

    def _exchange(self, wanted: bool) -> Any:
        """A context in which ranks exchange gradients, or only add them up."""
        several = isinstance(self.network, DistributedDataParallel)
        return self.network.no_sync() if several and not wanted else nullcontext()  # type: ignore[operator]

    def _views(self, taken: Batch) -> list[Tensor]:
        """The views of this rank's images. Draws are made for all ranks together: their number changes nothing."""
        wanted, views = self._wanted, []
        pixels = to_device(torch.from_numpy(taken.pixels), self._device)
        for number in range(self._method.views):
            if number == 1 and taken.mate_pixels is not None:
                pixels = to_device(torch.from_numpy(taken.mate_pixels), self._device)
            seed = (wanted.seed, taken.position, number)
            draws = draw_views(self._recipe.views, wanted.batch, len(self._library.grey), seed)
            mine = draws.rows(wanted.rank * wanted.share, (wanted.rank + 1) * wanted.share)
            view = render_views(pixels, mine, self._library, self._recipe.side_px)
            views.append(view.contiguous(memory_format=torch.channels_last))
        return views


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a number over all ranks, on every rank."""
    if dist.world_size() == 1:
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / float(dist.world_size())


def _distribute(method: Method, recipe: Recipe, device: torch.device) -> nn.Module:
    if recipe.compile:
        method.backbone.network.compile()
    if dist.world_size() == 1:
        return method
    network: nn.Module = synchronise_batch_norm(method, device) if recipe.sync_batch_norm else method
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)
