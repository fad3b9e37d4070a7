"""The plate: where a scanned cassette ends, a bright strip with a straight, often tilted, inner edge remains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Mask

_WHITE = 0.8
_MAX_DEPTH = 0.3
_MIN_SHARE = 0.7
_MIN_FALL = 0.25


def find_plate(levels: Mask) -> npt.NDArray[np.float32]:
    """The image's rectangle less the bright strips along its four sides.

    A strip starts at the side (or behind a dark rim of at most 3 %), is at most 30 % of the image deep, white all
    through, and ends in a straight line that at least 70 % of the side's length agree on; behind that line the grey
    falls by at least a quarter of the range.

    Args:
        levels: Uint8 [rows, columns], normalised.

    Returns:
        A convex polygon, float32 [points, 2] of (x, y); the whole image where there are no strips.
    """
    rows, columns = levels.shape
    plate = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    centre = np.array([columns / 2, rows / 2])
    for upright, far in ((True, False), (True, True), (False, False), (False, True)):
        # The side in question becomes the first row.
        view = levels if upright else levels.T
        edge = strip_edge(np.ascontiguousarray(view[::-1] if far else view))
        if edge is None:
            continue
        depth_px, length = view.shape
        depths = [edge[0], edge[0] + edge[1] * length]
        places = [depth_px - depth for depth in depths] if far else depths
        ends = np.array([[0.0, places[0]], [length, places[1]]], np.float64)
        start, end = ends if upright else ends[:, ::-1]
        plate = clip_half_plane(plate, start, end, centre)
    return plate


def strip_edge(view: Mask) -> tuple[float, float] | None:
    """The inner edge of a bright strip along the first row of `view`: depth = offset + slope × position, in pixels.

    Returns:
        (offset, slope), or None where there is no strip.
    """
    depth_px, length = view.shape
    reach = int(_MAX_DEPTH * depth_px)
    rim = max(2, round(0.03 * depth_px))
    white = view[: reach + 1] >= _WHITE * 255
    first = np.argmax(white, axis=0)
    # Below the first white pixel of a column, the first one that is not white ends its run.
    ended = ~white & (np.arange(reach + 1)[:, None] > first)
    last = np.argmax(ended, axis=0)
    good = white.any(axis=0) & (first <= rim) & ended.any(axis=0)
    if good.mean() < _MIN_SHARE:
        return None
    position = (np.flatnonzero(good) + 0.5).astype(np.float64)
    depth = last[good].astype(np.float64)
    offset, slope = _robust_line(position, depth)
    agree = np.abs(depth - offset - slope * position) <= max(1.5, 0.008 * depth_px)
    if agree.sum() < _MIN_SHARE * length or abs(slope) > 0.3:
        return None
    slope, offset = np.polyfit(position[agree], depth[agree], 1)
    ends = np.round(offset + slope * np.arange(length)).astype(int)
    behind, before = np.clip(ends + 4, 0, depth_px - 1), np.clip(ends - 2, 0, depth_px - 1)
    along = np.arange(length)
    fall = np.median(view[before, along].astype(np.float32)) - np.median(view[behind, along].astype(np.float32))
    return (float(offset) + 1.0, float(slope)) if fall >= _MIN_FALL * 255 else None


def _robust_line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(offset, slope) by the median of slopes between points half the range apart (Theil–Sen on pairs)."""
    half = len(x) // 2
    slopes = (y[half : 2 * half] - y[:half]) / (x[half : 2 * half] - x[:half])
    slope = float(np.median(slopes))
    return float(np.median(y - slope * x)), slope


def clip_half_plane(
    polygon: npt.NDArray[np.float32],
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    keep: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """The part of a convex polygon on the same side of the line start–end as the point `keep` (Sutherland–Hodgman)."""
    normal = np.array([end[1] - start[1], start[0] - end[0]])
    if (keep - start) @ normal < 0:
        normal = -normal
    heights = (polygon - start) @ normal
    kept: list[npt.NDArray[np.float64]] = []
    for here, there, high, next_high in zip(
        polygon, np.roll(polygon, -1, axis=0), heights, np.roll(heights, -1), strict=True
    ):
        if high >= 0:
            kept.append(here)
        if (high >= 0) != (next_high >= 0):
            kept.append(here + (there - here) * (high / (high - next_high)))
    return np.asarray(kept, np.float32) if len(kept) >= 3 else polygon
