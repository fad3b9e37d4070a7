"""From stored images to training views: all geometry in one resampling, then intensity, on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from radray.views.config import ViewConfig
from radray.views.gauge import GaugeLibrary, paste_gauges

NOISE_BLOCK = 16
"""Images whose noise comes from one seed."""


@dataclass(frozen=True, kw_only=True)
class ViewDraws:
    """The random numbers behind a batch of views; every tensor's first dimension is the batch."""

    theta: Tensor
    """Float[batch, 2, 3]: from view to image coordinates, both in [−1, 1]."""
    gauge: Tensor
    """Int64[batch, slots]: the gauge's number in the library, −1 for none."""
    gauge_place: Tensor
    """Float[batch, slots, 2] in [0, 1]."""
    gauge_opacity: Tensor
    """Float[batch, slots]."""
    tone: Tensor
    """Float[batch, 8]: brightness, contrast, gamma, detail gain, equalisation gain, noise deviation, window."""
    inverted: Tensor
    """Bool[batch]."""
    frame: Tensor
    """Float[batch, 5]: left, top, right, bottom margins as shares of the side, and the grey value of the frame."""
    hole: Tensor
    """Float[batch, 4]: left, top, right, bottom of the blanked rectangle, shares of the side; none if right ≤ left."""
    noise_seed: int
    """Seeds the noise pixels."""
    first: int = 0
    """Place of the first row in the whole batch."""

    def rows(self, start: int, stop: int) -> ViewDraws:
        """The draws of some images of the batch: a rank's slice of the global batch."""
        rows: dict[str, Any] = {name: value[start:stop] for name, value in self._tensors()}
        return dataclasses.replace(self, **rows, first=self.first + start)

    def to(self, device: torch.device) -> ViewDraws:
        """The draws on a device."""
        moved: dict[str, Any] = {name: to_device(value, device) for name, value in self._tensors()}
        return dataclasses.replace(self, **moved)

    def noise(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Standard normal noise, Float[shape]; that of an image depends on its place in the whole batch alone."""
        last = self.first + shape[0]
        blocks = []
        for block in range(self.first // NOISE_BLOCK, -(-last // NOISE_BLOCK)):
            generator = torch.Generator(device).manual_seed(mix_seed((self.noise_seed, block)))
            blocks.append(torch.randn((NOISE_BLOCK, *shape[1:]), generator=generator, device=device))
        start = self.first % NOISE_BLOCK
        return torch.cat(blocks)[start : start + shape[0]]

    def _tensors(self) -> list[tuple[str, Tensor]]:
        found = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in found if isinstance(value, Tensor)]


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; a GPU gets it while the CPU goes on."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def draw_views(config: ViewConfig, batch: int, gauges: int, seed: tuple[int, ...]) -> ViewDraws:
    """Draw the parameters of one view of each image, on the CPU.

    Args:
        config: Ranges.
        batch: Images in the global batch.
        gauges: Gauges in the library.
        seed: Any number of non-negative integers; the same ones give the same draws.
    """
    number = mix_seed(seed)
    generator = torch.Generator().manual_seed(number)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator) * (high - low) + low

    def happens(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    tone = torch.stack(
        [
            uniform(max(0.0, 1 - config.brightness), 1 + config.brightness),
            uniform(max(0.0, 1 - config.contrast), 1 + config.contrast),
            uniform(-config.gamma, config.gamma).exp(),
            uniform(*config.detail),
            uniform(*config.equalisation),
            uniform(0.0, config.noise),
            uniform(0.0, config.window),
            uniform(1 - config.window, 1.0),
        ],
        dim=1,
    )
    margins = uniform(-0.15, 0.25, 4).clamp_min(0) * happens(config.collimation)[:, None]
    frame = torch.cat([margins, torch.where(uniform(0, 1, 1) < 0.8, uniform(0, 0.1, 1), uniform(0, 1, 1))], dim=1)
    corner, extent = uniform(0, 0.8, 2), uniform(0.1, 0.34, 2) * happens(config.cutout)[:, None]
    slots = max(1, config.gauges)
    wanted = torch.randint(0, config.gauges + 1, (batch, 1), generator=generator)
    kinds = torch.randint(0, max(1, gauges), (batch, slots), generator=generator)
    return ViewDraws(
        theta=_geometry(config, batch, uniform, happens, generator),
        gauge=torch.where(torch.arange(slots) < wanted, kinds, -1) if gauges else torch.full((batch, slots), -1),
        gauge_place=uniform(0, 1, slots, 2),
        gauge_opacity=uniform(0.75, 1.0, slots),
        tone=tone,
        inverted=happens(config.inversion),
        frame=frame,
        hole=torch.cat([corner, corner + extent], dim=1),
        noise_seed=number,
    )


def mix_seed(seed: tuple[int, ...]) -> int:
    """One number below 2**62 from several non-negative ones."""
    number = 0x9E3779B97F4A7C15
    for part in seed:
        number = ((number ^ (part + 0x632BE59BD9B4E019)) * 0xD1342543DE82EF95 + 1) & 0x3FFFFFFFFFFFFFFF
    return number


def _geometry(config: ViewConfig, batch: int, uniform, happens, generator: torch.Generator) -> Tensor:  # type: ignore[no-untyped-def]
    """The composed map from view to image: crop, then the inverse of turn, shear, magnification and shift."""
    angle = torch.deg2rad(uniform(-config.rotation_deg, config.rotation_deg))
    turns = torch.randint(1, 4, (batch,), generator=generator) * happens(config.quarter_turn)
    angle = angle + turns * (torch.pi / 2)
    shear = torch.deg2rad(uniform(-config.shear_deg, config.shear_deg)).tan()
    magnification = uniform(*config.scale)
    mirror = torch.where(happens(config.flip), -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    forward = torch.stack(
        [
            torch.stack([cos * mirror, (cos * shear - sin)], dim=1),
            torch.stack([sin * mirror, (sin * shear + cos)], dim=1),
        ],
        dim=1,
    )
    inverse = torch.linalg.inv(forward * magnification[:, None, None])
    shift = uniform(-2 * config.translation, 2 * config.translation, 2)
    area = uniform(*config.crop_area)
    low, high = torch.log(torch.tensor(config.crop_aspect))
    aspect = (torch.rand(batch, generator=generator) * (high - low) + low).exp()
    half = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1).clamp_max(1.0)
    centre = uniform(-1, 1, 2) * (1 - half)
    matrix = inverse * half[:, None, :]
    offset = (inverse @ (centre - shift)[:, :, None])[:, :, 0]
    return torch.cat([matrix, offset[:, :, None]], dim=2)


def render_views(images: Tensor, draws: ViewDraws, library: GaugeLibrary, side_px: int) -> Tensor:
    """Render one view of each image.

    Args:
        images: UInt8[batch, side, side] on the device.
        draws: As many rows as images, on the CPU.
        library: Gauges on the device.
        side_px: Side of the views.

    Returns:
        Float32[batch, 1, side_px, side_px] in [0, 1].
    """
    for _, view in view_steps(images, draws, library, side_px):
        last = view
    return last


def view_steps(images: Tensor, draws: ViewDraws, library: GaugeLibrary, side_px: int) -> Iterator[tuple[str, Tensor]]:
    """What `render_views` does, step by step: the name of each step and Float32[batch, 1, height, width] after it."""
    device = images.device
    grey = images.float().div_(255)
    draws = draws.to(device)
    grey = paste_gauges(grey, library, draws.gauge, draws.gauge_place, draws.gauge_opacity)
    yield "gauges", grey[:, None]
    grid = functional.affine_grid(draws.theta, [len(images), 1, side_px, side_px], align_corners=False)
    view = functional.grid_sample(grey[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    yield "geometry, crop", view
    tone = draws.tone[:, :, None, None, None]
    brightness, contrast, gamma, detail, equalisation, deviation, low, high = tone.unbind(1)
    view = view + detail * (view - _blur(view))
    view = view + equalisation * (view - _coarse(view))
    yield "sharpness, latitude", view
    view = view + deviation * draws.noise(view.shape, device)
    view = ((view - low) / (high - low)).clamp(0, 1).pow(gamma)
    yield "noise, window, tone curve", view
    mean = view.mean(dim=(2, 3), keepdim=True)
    view = (((view - mean) * contrast + mean) * brightness).clamp_(0, 1)
    view = torch.where(draws.inverted[:, None, None, None], 1 - view, view)
    yield "brightness, contrast", view
    yield "cut-out, frame", _frame(_hole(view, draws.hole), draws.frame)


def _blur(view: Tensor) -> Tensor:
    """Binomial of 5 pixels each way, as sums of shifted images: CPUs are slow at convolutions of one channel."""
    padded = functional.pad(view, (2, 2, 2, 2), mode="replicate")
    height, width = view.shape[-2:]
    x = [padded[..., shift : shift + width] for shift in range(5)]
    across = x[0] + x[4] + 4 * (x[1] + x[3]) + 6 * x[2]
    y = [across[..., shift : shift + height, :] for shift in range(5)]
    return (y[0] + y[4] + 4 * (y[1] + y[3]) + 6 * y[2]) / 256


def _coarse(view: Tensor) -> Tensor:
    """The view at 6 × 6 pixels, interpolated back (by matrix products)."""
    small = functional.adaptive_avg_pool2d(view, 6)
    down, across = (_interpolation(size, 6, view.device) for size in view.shape[-2:])
    return down @ small @ across.T


@lru_cache(maxsize=8)
def _interpolation(size: int, samples: int, device: torch.device) -> Tensor:
    """The matrix [size, samples] that interpolates linearly between the centres of equal cells."""
    place = ((torch.arange(size, device=device) + 0.5) * samples / size - 0.5).clamp(0, samples - 1)
    return (1 - (place[:, None] - torch.arange(samples, device=device)).abs()).clamp_min(0)


def _centres(side_px: int, device: torch.device) -> Tensor:
    return (torch.arange(side_px, device=device) + 0.5) / side_px


def _frame(view: Tensor, frame: Tensor) -> Tensor:
    place = _centres(view.shape[-1], view.device)
    left, top, right, bottom, value = frame[:, :, None].unbind(1)
    columns = (place >= left) & (place <= 1 - right)
    rows = (place >= top) & (place <= 1 - bottom)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, view, value[:, :, None, None])


def _hole(view: Tensor, hole: Tensor) -> Tensor:
    place = _centres(view.shape[-1], view.device)
    left, top, right, bottom = hole[:, :, None].unbind(1)
    columns = (place >= left) & (place < right)
    rows = (place >= top) & (place < bottom)
    return view.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)
