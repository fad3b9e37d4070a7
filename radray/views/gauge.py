"""Gauges: the foreign bodies of a radiograph (measuring balls, rulers, side markers, wires) as patches to paste.

A model that may read a marker instead of the anatomy will. Pasting markers at random into every training view makes
them worthless as a cue (Langer et al., arXiv 2412.15967).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radray.cleaning.annotations import find_annotations

SCALES = (0.8, 1.0, 1.2)
"""Sizes every gauge is kept in."""
_WIDEST = 1.2
"""Width of a marker over its height, at most: one character, framed perhaps."""
_LEAST_CONTRAST = 0.6
"""Between a marker of the archive and its ground, share of the range: lead is white on air, bone is greyer."""


@dataclass(frozen=True, kw_only=True)
class GaugeLibrary:
    """Patches of one size, the smaller ones surrounded by full transparency."""

    grey: Tensor
    """Float[gauge, size, size] in [0, 1]."""
    alpha: Tensor
    """Float[gauge, size, size] in [0, 1]."""

    @classmethod
    def of(cls, grey: NDArray[np.float32], alpha: NDArray[np.float32]) -> GaugeLibrary:
        """From arrays, both Float32[gauge, size, size] in [0, 1]."""
        return cls(grey=torch.from_numpy(grey), alpha=torch.from_numpy(alpha))

    def join(self, other: GaugeLibrary) -> GaugeLibrary:
        """Both libraries' gauges; their patches must be of one size."""
        return GaugeLibrary(grey=torch.cat([self.grey, other.grey]), alpha=torch.cat([self.alpha, other.alpha]))

    def to(self, device: torch.device) -> GaugeLibrary:
        """The library on a device."""
        return GaugeLibrary(grey=self.grey.to(device), alpha=self.alpha.to(device))


def synthetic_gauges(side_px: int, count: int = 48, seed: int = 0) -> GaugeLibrary:
    """Draw balls, rulers, letters, arrows and wires for images of `side_px`.

    Args:
        side_px: Side of the images they will be pasted into; a gauge is about a seventh of it.
        count: Different gauges; each is kept in every one of `SCALES`.
        seed: Draws them.
    """
    rng = np.random.default_rng(seed)
    base, size = _sizes(side_px)
    grey, alpha = [], []
    for number in range(count):
        drawn = _DRAWINGS[number % len(_DRAWINGS)](rng)
        turn = cv2.getRotationMatrix2D((64, 64), float(rng.uniform(-180, 180)) if number % 2 else 0.0, 0.9)
        drawn = cv2.warpAffine(drawn, turn, (128, 128), flags=cv2.INTER_LINEAR)
        tone = float(rng.choice([rng.uniform(0.75, 1.0), rng.uniform(0.0, 0.15)], p=[0.85, 0.15]))
        for scale in SCALES:
            side = max(4, int(base * scale))
            alpha.append(_centred(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA), size))
            grey.append(np.full((size, size), tone, np.float32))
    return GaugeLibrary.of(np.stack(grey), np.stack(alpha))


def _sizes(side_px: int) -> tuple[int, int]:
    """Side of a gauge, and of the patch that holds it at its largest."""
    base = max(8, side_px // 7)
    return base, int(np.ceil(base * max(SCALES)))


def _centred(drawn: np.ndarray, size: int) -> np.ndarray:
    patch = np.zeros((size, size), np.float32)
    top, left = (size - drawn.shape[0]) // 2, (size - drawn.shape[1]) // 2
    patch[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return patch


def harvest_gauges(images: NDArray[np.uint8], most: int = 48) -> dict[str, NDArray[np.float32]]:
    """Cut the side markers out of an archive's own images.

    A marker is one or two characters apart from everything else (`radray.cleaning.annotations`). Only those no wider
    than one character are taken, and each by itself: a name of two letters would pass for a marker too.

    Args:
        images: UInt8[n, side, side], cleaned.
        most: Different markers; each is kept in every one of `SCALES`.

    Returns:
        `grey` and `alpha` of `GaugeLibrary.of`, for patches of the same size as `synthetic_gauges`'.
    """
    size = _sizes(images.shape[-1])[1]
    cut = [patch for image in images for patch in _markers(image)]
    if len(cut) > most:
        cut = [cut[place] for place in np.linspace(0, len(cut) - 1, most).astype(int)]
    grey, alpha = [], []
    for tone, strokes in cut:
        for scale in SCALES:
            rows, columns = (max(2, min(size, round(length * scale))) for length in strokes.shape)
            alpha.append(_centred(cv2.resize(strokes, (columns, rows), interpolation=cv2.INTER_LINEAR), size))
            grey.append(np.full((size, size), tone, np.float32))
    nothing = np.empty((0, size, size), np.float32)
    return {"grey": np.stack(grey) if grey else nothing, "alpha": np.stack(alpha) if alpha else nothing}


def _markers(image: NDArray[np.uint8]) -> list[tuple[float, NDArray[np.float32]]]:
    """Grey value and opacity, Float32[rows, columns] in [0, 1], of every marker of an image."""
    levels = image.astype(np.float32) / np.float32(255)
    found = []
    for box in find_annotations(levels).markers:
        if box.right - box.left > _WIDEST * (box.bottom - box.top):
            continue
        patch = levels[max(0, box.top - 2) : box.bottom + 2, max(0, box.left - 2) : box.right + 2]
        edge = np.concatenate([patch[0], patch[-1], patch[:, 0], patch[:, -1]])
        ground, tone = float(np.median(edge)), float(patch.max())
        if tone - ground >= _LEAST_CONTRAST:
            found.append((tone, np.clip((patch - ground) / (tone - ground), 0, 1).astype(np.float32)))
    return found


def _ball(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((128, 128), np.float32)
    cv2.circle(canvas, (64, 64), int(rng.integers(20, 56)), 1.0, -1, cv2.LINE_AA)
    return canvas


def _ruler(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((128, 128), np.float32)
    step = int(rng.integers(6, 16))
    for number, x in enumerate(range(6, 122, step)):
        cv2.line(canvas, (x, 64), (x, 64 - (28 if number % 5 == 0 else 14)), 1.0, 2, cv2.LINE_AA)
    cv2.line(canvas, (4, 64), (124, 64), 1.0, 3, cv2.LINE_AA)
    return canvas


def _letters(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((128, 128), np.uint8)
    text = str(rng.choice(["L", "R", "LI", "RE", "L7", "R2", "AP", "PA", "lat", "X", "M"]))
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX]))
    cv2.putText(canvas, text, (6, 96), font, 3.6 / len(text) ** 0.6, 255, int(rng.integers(5, 14)), cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _framed_letters(rng: np.random.Generator) -> np.ndarray:
    canvas = _letters(rng)
    cv2.rectangle(canvas, (2, 14), (124, 114), 1.0, int(rng.integers(2, 6)), cv2.LINE_AA)
    return canvas


def _plate(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((128, 128), np.float32)
    half = int(rng.integers(8, 30))
    cv2.rectangle(canvas, (10, 64 - half), (118, 64 + half), float(rng.uniform(0.5, 1.0)), -1, cv2.LINE_AA)
    for x in range(24, 118, 24):
        cv2.circle(canvas, (x, 64), max(2, half // 3), 0.2, -1, cv2.LINE_AA)
    return canvas


def _wire(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((128, 128), np.float32)
    points = np.stack([np.linspace(6, 122, 6), 64 + rng.uniform(-40, 40, 6)], axis=1).astype(np.int32)
    cv2.polylines(canvas, [points], False, 1.0, int(rng.integers(2, 6)), cv2.LINE_AA)
    return canvas


_DRAWINGS = (_ball, _ruler, _letters, _framed_letters, _plate, _wire)


def paste_gauges(images: Tensor, library: GaugeLibrary, chosen: Tensor, places: Tensor, opacity: Tensor) -> Tensor:
    """Blend gauges into a batch.

    Args:
        images: Float[batch, side, side] in [0, 1]; not changed.
        library: Patches no larger than the side.
        chosen: Int64[batch, slots]; the gauge of each slot, −1 for none.
        places: Float[batch, slots, 2] in [0, 1]; top-left corner from the first to the last possible row and column.
        opacity: Float[batch, slots] in [0, 1].

    Returns:
        Float[batch, side, side].
    """
    batch, side = images.shape[0], images.shape[-1]
    size = library.alpha.shape[-1]
    pixels = images.reshape(batch, -1).clone()
    offsets = torch.arange(size, device=images.device)
    for slot in range(chosen.shape[1]):
        corner = (places[:, slot] * (side - size)).long()
        rows = corner[:, 0, None] + offsets
        columns = corner[:, 1, None] + offsets
        index = (rows[:, :, None] * side + columns[:, None, :]).reshape(batch, -1)
        gauge = chosen[:, slot]
        present = (gauge >= 0).float()[:, None]
        alpha = library.alpha[gauge.clamp_min(0)].reshape(batch, -1) * opacity[:, slot, None] * present
        under = pixels.gather(1, index)
        over = library.grey[gauge.clamp_min(0)].reshape(batch, -1)
        pixels.scatter_(1, index, under + alpha * (over - under))
    return pixels.reshape(images.shape)
