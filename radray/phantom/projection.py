"""From a sketch to attenuation and from there to grey values: path lengths, Beer–Lambert, scatter, exposure curve."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from radray.phantom.shapes import Part, Points, Sketch

Image = NDArray[np.float32]
"""Image [rows, cols]."""

BONE_PER_MM = 0.058
"""Linear attenuation of cortical bone at about 60 keV, 1/mm (NIST XCOM: 0.315 cm²/g × 1.85 g/cm³)."""
SOFT_PER_MM = 0.0206
"""Linear attenuation of soft tissue at about 60 keV, 1/mm."""
METAL_PER_MM = 0.55
"""Linear attenuation of titanium and steel, about, 1/mm."""

_SUBPIXEL_BITS = 4


def _chord(distance: Image, rim: float, depth: float) -> Image:
    inside = np.minimum(distance * np.float32(1.0 / max(rim, 1e-3)), np.float32(1.0))
    inside = inside * (np.float32(2.0) - inside)
    chord: Image = np.sqrt(np.maximum(inside, np.float32(0.0)), dtype=np.float32) * np.float32(depth)
    return chord


def fill_mask(outlines: list[Points], shape: tuple[int, int], value: int = 1) -> NDArray[np.uint8]:
    """Mask (0 or `value`) of the union of closed outlines given in pixels of an image of `shape`."""
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [np.round(outline * (1 << _SUBPIXEL_BITS)).astype(np.int32)], value, shift=_SUBPIXEL_BITS)
    return mask


def add_part(total: Image, part: Part, mm_per_px: float, *, strongest: bool = False, weight: float = 1.0) -> None:
    """Add the path length (mm) of one part, whose outlines are in pixels of `total`, to `total` in place.

    Args:
        total: Path lengths so far, mm.
        part: Outlines in pixels, other lengths in mm.
        mm_per_px: Size of one pixel of `total`.
        strongest: Take the greater of `total` and the part instead of the sum (soft tissue that is one body).
        weight: Factor on the path length (-1 takes it away).
    """
    corners = np.vstack(part.outlines)
    margin = 2
    left, top = np.floor(corners.min(0)).astype(int) - margin
    right, bottom = np.ceil(corners.max(0)).astype(int) + margin + 1
    rows, columns = total.shape
    reach = int(part.rim / mm_per_px) + 2
    x0, y0, x1, y1 = max(left, -reach), max(top, -reach), min(right, columns + reach), min(bottom, rows + reach)
    if x0 >= min(x1, columns) or y0 >= min(y1, rows) or x1 <= 0 or y1 <= 0:
        return
    mask = fill_mask([outline - (x0, y0) for outline in part.outlines], (y1 - y0, x1 - x0))
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    inner = (
        slice(max(0, -y0), max(0, -y0) + min(y1, rows) - max(y0, 0)),
        slice(max(0, -x0), max(0, -x0) + min(x1, columns) - max(x0, 0)),
    )
    # A mask without an outside has no finite distances.
    reached: Image = np.asarray(np.minimum(distance[inner], 1e6) * np.float32(mm_per_px), dtype=np.float32)
    length = _chord(reached, part.rim, part.depth)
    if part.cortex > 0 and part.hollow > 0:
        core = _chord(
            np.maximum(reached - np.float32(part.cortex), np.float32(0)),
            max(part.rim - part.cortex, 0.5),
            max(part.depth - 2 * part.cortex, 0.0),
        )
        length -= np.float32(part.hollow) * core
    window = total[max(y0, 0) : min(y1, rows), max(x0, 0) : min(x1, columns)]
    if strongest:
        np.maximum(window, length, out=window)
    else:
        window += np.float32(weight) * length


def attenuation(sketch: Sketch, shape: tuple[int, int], mm_per_px: float, texture: Image) -> Image:
    """Line integral of attenuation (dimensionless) at each pixel of the detector.

    Args:
        sketch: Outlines already in pixels of `shape`.
        shape: Rows and columns.
        mm_per_px: Size of one pixel.
        texture: Zero-mean texture of spongy bone [rows, cols], about unit variance.
    """
    rows, columns = shape
    coarse_shape = ((rows + 3) // 4, (columns + 3) // 4)
    body = np.zeros(coarse_shape, np.float32)
    for part in sketch.soft:
        add_part(body, _shrunk(part), mm_per_px * 4, strongest=True)
    gas = np.zeros_like(body)
    for part in sketch.air:
        add_part(gas, _shrunk(part), mm_per_px * 4)
    body = np.maximum(body - cv2.GaussianBlur(gas, (0, 0), 0.8), 0.12 * body)
    body = cv2.GaussianBlur(body, (0, 0), 0.7)
    bone = np.zeros(shape, np.float32)
    for part in sketch.bones:
        add_part(bone, part, mm_per_px)
    bone *= np.float32(1.0) + np.float32(0.11) * texture
    soft = cv2.resize(body, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.float32(SOFT_PER_MM) * soft + np.float32(BONE_PER_MM - SOFT_PER_MM) * bone, dtype=np.float32)


def _shrunk(part: Part) -> Part:
    return Part(outlines=[outline * 0.25 for outline in part.outlines], rim=part.rim, depth=part.depth)


def detector_signal(line_integral: Image, scatter_ratio: float, scatter_px: float) -> Image:
    """Beer–Lambert: transmitted share of the beam (0, 1.x] with scatter (a broad blur of the primary) on top."""
    primary = np.exp(-line_integral)
    small = cv2.resize(
        primary, (max(primary.shape[1] // 8, 1), max(primary.shape[0] // 8, 1)), interpolation=cv2.INTER_AREA
    )
    haze = cv2.GaussianBlur(small, (0, 0), max(scatter_px / 8, 0.6), borderType=cv2.BORDER_REPLICATE)
    haze = cv2.resize(haze, (primary.shape[1], primary.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(primary + np.float32(scatter_ratio) * haze, dtype=np.float32)
