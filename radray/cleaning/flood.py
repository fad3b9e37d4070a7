"""What lies outside an exposed field, taken from the border inwards like a flood, and the outline of what remains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.edges import detect_edges
from radray.cleaning.intensity import Mask
from radray.cleaning.shapes import Polygon

MIN_STEP = 0.08
"""Step in grey across four fifths of a field's edge where the outside is not black; skin ends more softly."""

_TOLERANCES = (0.0, 0.02, 0.045, 0.08)
_RIM = 0.12
"""Height of a thin line above its surroundings that makes it a rim."""
_ANOTHER = 0.02
"""Share of the image from which a second piece is large."""
_BLACK = 0.12 * 255
"""Grey levels from black (or white) at which what lies outside may be as black (or white) as can be."""
_MAX_SPREAD = 0.05
"""Spread of the grey outside a field that is not black; tissue at the border varies more."""
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))

Group = tuple[list[Mask], float]
"""Masks from strict to tolerant, and the step in grey that a field's edge must show."""


def flat_areas(levels: Mask, fine: Mask) -> list[Group]:
    """What may lie outside: pixels near the one or two commonest grey values of the border.

    Args:
        levels: The image without noise.
        fine: The image with its thin lines.
    """
    groups: list[Group] = []
    open_to_flood = _within_rims(levels, fine)
    for mode, spread in _modes(levels):
        low_open, high_open = mode - spread <= _BLACK, mode + spread >= 255 - _BLACK
        if spread > _MAX_SPREAD * 255 and not low_open:
            continue
        reach = [spread + tolerance * 255 for tolerance in _TOLERANCES]
        spans = [(0.0 if low_open else mode - r, 255.0 if high_open else mode + r) for r in reach]
        groups.append((_masks(levels, spans, open_to_flood), 0.0 if low_open else MIN_STEP))
    if len(groups) > 1:
        groups.append(([np.bitwise_or(groups[0][0][0], groups[1][0][0])], MIN_STEP))
    return groups


def shutter_areas(levels: Mask, fine: Mask) -> list[Group]:
    """As `flat_areas`, of shutters that are not quite black: air inside may be blacker and stops the flood too."""
    groups: list[Group] = []
    open_to_flood = _within_rims(levels, fine)
    smooth = np.asarray(cv2.blur(levels, (5, 5)), np.uint8)
    for mode, spread in _modes(levels):
        if mode > spread >= mode - _BLACK:
            spans = [(mode - reach, mode + reach) for reach in (max(2.0, 0.6 * spread), max(3.0, spread))]
            groups.append((_masks(smooth, spans, open_to_flood), 0.0))
    return groups


def _masks(levels: Mask, spans: list[tuple[float, float]], open_to_flood: Mask) -> list[Mask]:
    """For each span of grey, 255 where the image lies in it and the flood may go."""
    return [np.bitwise_and(np.asarray(cv2.inRange(levels, *span), np.uint8), open_to_flood) for span in spans]


def _within_rims(levels: Mask, fine: Mask) -> Mask:
    """255 but on thin bright lines: a rim stops the flood where the other side of it is as grey as this one."""
    line = cv2.subtract(cv2.dilate(fine, np.ones((2, 2), np.uint8)), levels)
    return np.asarray(cv2.inRange(line, 0, _RIM * 255), np.uint8)


def _modes(levels: Mask) -> list[tuple[float, float]]:
    """The one or two commonest grey values of the border (each ≥ 15 % of it), with a spread that covers its noise."""
    ring = np.concatenate([levels[:2].ravel(), levels[-2:].ravel(), levels[:, :2].ravel(), levels[:, -2:].ravel()])
    counts = np.convolve(np.bincount(ring, minlength=256), np.ones(9), "same")
    modes: list[tuple[float, float]] = []
    for _ in range(2):
        mode = int(np.argmax(counts))
        if counts[mode] < 0.15 * ring.size:
            break
        near = ring[np.abs(ring.astype(np.int16) - mode) <= 24].astype(np.float32)
        centre = float(np.median(near))
        modes.append((centre, 3.0 * float(np.median(np.abs(near - centre)))))
        counts[max(0, mode - 32) : mode + 33] = 0
    return modes


def flood_outline(flat: Mask, min_area: float) -> Polygon | None:
    """The outline of the piece that stays when flat areas are flooded from the border, [points, 2].

    None where a second large piece stays: two exposures on one plate, or a limb beside a white plate.

    Args:
        flat: Uint8 [rows, columns], 255 where the flood may go.
        min_area: Share of the image that the piece has at least.
    """
    contours = sorted(_pieces(_flood(flat), 3), key=cv2.contourArea)
    if len(contours) > 1 and cv2.contourArea(contours[-2]) >= _ANOTHER * flat.size:
        return None
    return _checked(contours[-1], flat.shape, min_area) if contours else None


def quiet_outline(levels: Mask, min_area: float) -> Polygon | None:
    """The outline of all that stays when the quiet is flooded from the border up to edges, whatever its grey."""
    # Quiet is where no edge is within two pixels: gaps of four pixels in an edge are closed.
    quiet = np.asarray(cv2.bitwise_not(cv2.dilate(detect_edges(levels)[0], _DISC)), np.uint8)
    contours = _pieces(np.asarray(cv2.erode(_flood(quiet), _DISC), np.uint8), 9)
    # Where an edge has wider gaps the flood has come in and may have cut the field into pieces.
    large = [contour for contour in contours if cv2.contourArea(contour) >= 0.01 * levels.size]
    if not large:
        return None
    outline = np.concatenate(large)
    if cv2.contourArea(cv2.convexHull(outline)) < min_area * levels.size:
        return None
    return _checked(outline, levels.shape, 0.0)


def _flood(flat: Mask) -> Mask:
    """Uint8 [rows, columns], 1 where the flood does not come."""
    # A frame of one pixel joins the flat areas at the border, so that one flood fill takes them all.
    framed = cv2.copyMakeBorder(flat, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 128)
    return np.asarray(framed[1:-1, 1:-1] != 128, np.uint8)


def _pieces(inside: Mask, least_px: int) -> Sequence[npt.NDArray[np.int32]]:
    """Outlines of the pieces of a mask, less what is thinner than `least_px`."""
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((least_px, least_px), np.uint8))
    contours = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cast("Sequence[npt.NDArray[np.int32]]", contours)


def _checked(contour: npt.NDArray[np.int32], shape: tuple[int, ...], min_area: float) -> Polygon | None:
    """The outline's points, unless it is too small or nearly the whole image."""
    rows, columns = shape
    if len(contour) < 16 or cv2.contourArea(contour) < min_area * rows * columns:
        return None
    points = contour[:, 0, :].astype(np.float32)
    low, high = points.min(axis=0), np.array([columns, rows]) - 1 - points.max(axis=0)
    # A line or two at the sides is no collimation, unless a corner is missing too.
    spare = max(2.0, 0.012 * max(rows, columns))
    near_whole = cv2.contourArea(contour) > 0.94 * (columns - low[0] - high[0] - 1) * (rows - low[1] - high[1] - 1)
    return None if near_whole and max(low.max(), high.max()) <= spare else points
