"""The exposed field: what the collimator left open.

Outside it an image is flat: black where a shutter was applied, white where it was not. The field is what remains
when those flat areas are taken from the border inwards, and it counts only if its outline is a rectangle (at any
angle), a circle or another convex shape with straight sides. Where air inside the field is as black as the shutter the
outline follows the anatomy; then the whole image is the field, for nothing may be cut away on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Grey, Mask
from radray.cleaning.plate import find_plate

Polygon = npt.NDArray[np.float32]
"""Corners (x, y) in pixels, float32 [points, 2]; (0, 0) is the outer corner of the first pixel."""

_DETECT_PX = 256
_DARK = (0.02, 0.045, 0.08)
_BRIGHT = (0.06, 0.15)
_MIN_STEP = 0.12
"""Fall in grey across the edge of a field whose outside is bright; skin and saturated tissue end more softly."""

Kind = Literal["whole", "rectangle", "circle", "polygon"]
_PREFERENCE: tuple[Kind, ...] = ("rectangle", "circle", "polygon")


@dataclass(frozen=True, kw_only=True)
class ExposedField:
    """The exposed field of one image."""

    polygon: Polygon
    """Outline in pixels of the image given, [points, 2]."""
    kind: Kind
    """Whole image, rectangle at an angle, circle (or part of one), or another convex outline of straight sides."""
    angle_deg: float
    """Counter-clockwise turn that puts a rectangle upright, −45 to 45 degrees; 0 for other kinds."""


def whole_image(grey: Grey) -> ExposedField:
    """The field of an image without collimation."""
    rows, columns = grey.shape
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    return ExposedField(polygon=corners, kind="whole", angle_deg=0.0)


def find_exposed_field(grey: Grey, *, min_area: float = 0.06, support: float = 0.75) -> ExposedField:
    """Find the exposed field of a normalised radiograph.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        min_area: Smallest share of the image a field may have.
        support: Share of each side of a field that the outline must follow.

    Returns:
        The field; the whole image when no convincing outline is found. A rectangle goes before a circle, that before
        another polygon, and of the same kind the smallest wins.
    """
    rows, columns = grey.shape
    factor = min(1.0, _DETECT_PX / max(rows, columns))
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    levels = np.asarray(cv2.medianBlur((small * 255).astype(np.uint8), 3), np.uint8)
    plate = find_plate(levels)
    beyond = np.full(levels.shape, 255, np.uint8)
    cv2.fillConvexPoly(beyond, np.round(plate * 16 - 8).astype(np.int32), 0, shift=4)
    found: list[tuple[int, float, ExposedField]] = []
    for group, bright in _flat_areas(levels):
        for flat in group:
            outline = _outline(np.bitwise_or(flat, beyond), min_area)
            field = None if outline is None else _recognise(outline, levels.shape, support)
            if field is None or (bright and _step(levels, field.polygon) < _MIN_STEP):
                continue
            found.append((_PREFERENCE.index(field.kind), float(cv2.contourArea(field.polygon)), field))
            if field.kind == "rectangle":
                break
    if found:
        best = min(found, key=lambda candidate: candidate[:2])[2]
    elif beyond.any():
        best = ExposedField(polygon=plate, kind="polygon", angle_deg=0.0)
    else:
        return whole_image(grey)
    scale = np.array([columns / size[0], rows / size[1]], np.float32)
    return ExposedField(polygon=best.polygon * scale, kind=best.kind, angle_deg=best.angle_deg)


def _flat_areas(levels: Mask) -> list[tuple[list[Mask], bool]]:
    """Masks of what may lie outside, and whether they hold bright areas: the border's darkest, its brightest, both.

    The masks of one group grow from strict to tolerant.
    """
    ring = np.concatenate([levels[:2].ravel(), levels[-2:].ravel(), levels[:, :2].ravel(), levels[:, -2:].ravel()])
    dark, bright = (float(value) for value in np.quantile(ring, (0.1, 0.97)))
    darks = [np.asarray(cv2.inRange(levels, 0, dark + t * 255), np.uint8) for t in _DARK] if dark <= 90 else []
    lights = (
        [np.asarray(cv2.inRange(levels, bright - t * 255, 255), np.uint8) for t in _BRIGHT] if bright >= 170 else []
    )
    both = [np.bitwise_or(darks[0], light) for light in lights] if darks else []
    return [(darks, False), (lights, True), (both, True)]


def _outline(flat: Mask, min_area: float) -> Polygon | None:
    """The outline of the largest piece that stays when flat areas are flooded from the border, [points, 2]."""
    rows, columns = flat.shape
    # A frame of one pixel joins the flat areas at the border, so that one flood fill takes them all.
    framed = cv2.copyMakeBorder(flat, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 128)
    inside = (framed[1:-1, 1:-1] != 128).astype(np.uint8)
    inside = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    if cv2.contourArea(contour) < min_area * rows * columns or len(contour) < 16:
        return None
    points = contour[:, 0, :].astype(np.float32)
    low, high = points.min(axis=0), np.array([columns, rows]) - 1 - points.max(axis=0)
    # A line or two at the sides is no collimation, unless a corner is missing too.
    spare = max(2.0, 0.012 * max(rows, columns))
    near_whole = cv2.contourArea(contour) > 0.94 * (columns - low[0] - high[0] - 1) * (rows - low[1] - high[1] - 1)
    return None if near_whole and max(low.max(), high.max()) <= spare else points


def _recognise(points: Polygon, shape: tuple[int, ...], support: float) -> ExposedField | None:
    """The field whose edge is the outline `points` (pixel centres), if it looks like one."""
    rectangle = cv2.minAreaRect(points)
    (x, y), (width, height), tilt = rectangle
    if min(width, height) < 8:
        return None
    if _sides_followed(points, np.asarray(cv2.boxPoints(rectangle), np.float32), shape, support):
        # Outline points are pixel centres: the rectangle grows by half a pixel on each side.
        grown = np.asarray(cv2.boxPoints(((x + 0.5, y + 0.5), (width + 1, height + 1), tilt)), np.float32)
        return ExposedField(polygon=grown, kind="rectangle", angle_deg=upright_turn(tilt))
    hull = np.asarray(cv2.convexHull(points)[:, 0, :], np.float32)
    if cv2.contourArea(points) < 0.95 * cv2.contourArea(hull):
        return None
    outwards = np.sign(hull - hull.mean(axis=0))
    grown = (hull + 0.5 + 0.5 * outwards).astype(np.float32)
    if _is_circle(points, shape):
        return ExposedField(polygon=grown, kind="circle", angle_deg=0.0)
    corners = cv2.approxPolyDP(hull, 0.012 * cv2.arcLength(hull, True), True)[:, 0, :].astype(np.float32)
    if 3 <= len(corners) <= 8 and _sides_followed(points, corners, shape, support):
        return ExposedField(polygon=grown, kind="polygon", angle_deg=0.0)
    return None


def _sides_followed(points: Polygon, corners: Polygon, shape: tuple[int, ...], support: float) -> bool:
    """Whether the outline follows each side of the polygon `corners`; sides along the image's edge may be open."""
    limit = np.array([shape[1] - 1, shape[0] - 1])
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        middle = (start + end) / 2
        on_edge = bool(((np.abs(middle) <= 1.5) | (np.abs(limit - middle) <= 1.5)).any())
        if _followed(points, start, end) < (0.5 * support if on_edge else support):
            return False
    return True


def _followed(points: Polygon, start: Polygon, end: Polygon) -> float:
    """The share of the segment from `start` to `end` that has an outline point within 1.5 pixels or 1 %."""
    along = end - start
    length = max(1.0, float(np.hypot(*along)))
    unit = along / length
    offset = points - start
    distance = np.abs(offset[:, 0] * unit[1] - offset[:, 1] * unit[0])
    near = (offset @ unit)[distance <= max(1.5, 0.01 * length)]
    bins = max(8, int(length / 3))
    near = near[(near >= -1.5) & (near <= length + 1.5)]
    return len(np.unique(np.clip((near / length * bins).astype(int), 0, bins - 1))) / bins


def _is_circle(points: Polygon, shape: tuple[int, ...]) -> bool:
    """Whether the outline away from the image's edge lies on a circle (residual ≤ 1.2 % of the radius)."""
    limit = np.array([shape[1] - 1, shape[0] - 1])
    free = points[((points > 1.5) & (points < limit - 1.5)).all(axis=1)].astype(np.float64)
    if len(free) < 24:
        return False
    system = np.column_stack([2 * free, np.ones(len(free))])
    (x, y, rest), *_ = np.linalg.lstsq(system, (free**2).sum(axis=1), rcond=None)
    radius = float(np.sqrt(max(0.0, rest + x * x + y * y)))
    residual = np.hypot(free[:, 0] - x, free[:, 1] - y) - radius
    covered = len(np.unique((np.arctan2(free[:, 1] - y, free[:, 0] - x) * 18 / np.pi).astype(int))) / 36
    return radius < max(shape) and covered >= 0.3 and float(np.sqrt(np.mean(residual**2))) <= 0.012 * radius


def _step(levels: Mask, polygon: Polygon) -> float:
    """The median absolute step in grey across the polygon's edge, away from the image's own edges."""
    rows, columns = levels.shape
    mask = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(mask, [np.round(polygon - 0.5).astype(np.int32)], 255)
    kernel = np.ones((3, 3), np.uint8)
    # Two rings of two pixels, each two pixels from the edge.
    outer = np.asarray(cv2.dilate(mask, kernel, iterations=4) - cv2.dilate(mask, kernel, iterations=2), np.uint8)
    inner = np.asarray(cv2.erode(mask, kernel, iterations=2) - cv2.erode(mask, kernel, iterations=4), np.uint8)
    frame = np.zeros_like(mask)
    frame[5:-5, 5:-5] = 255
    outside, inside = levels[(np.bitwise_and(outer, frame)) > 0], levels[(np.bitwise_and(inner, frame)) > 0]
    if outside.size < 16 or inside.size < 16:
        return 1.0
    return abs(float(np.median(outside)) - float(np.median(inside))) / 255


def upright_turn(angle_deg: float) -> float:
    """The smallest turn, −45 to 45 degrees, that puts a side at `angle_deg` (OpenCV's minAreaRect) on an axis."""
    turn = angle_deg % 90.0
    return turn - 90.0 if turn > 45.0 else turn


def fade_outside(grey: Grey, field: ExposedField, band_px: float, feather_px: float) -> Grey:
    """Blank what lies outside the field and a band along its edge, and fade in behind the band.

    Edges that are the image's own stay untouched.
    """
    rows, columns = grey.shape
    # Far outside the image its own edges are no edges of the field.
    mask = np.zeros((rows + 2, columns + 2), np.uint8)
    cv2.fillPoly(mask, [np.round(field.polygon - 0.5).astype(np.int32) + 1], 255)
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = (
        mask[1],
        mask[-2],
        mask[:, 1],
        mask[:, -2],
    )
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip((distance - band_px) / max(feather_px, 1e-3), 0.0, 1.0)
    return np.asarray(cv2.multiply(grey, weight.astype(np.float32)), np.float32)
