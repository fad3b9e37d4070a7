"""The exposed field: what the collimator left open.

Outside it an image is flat: black where a shutter was applied, white where it was not. The field is what remains
when those flat areas are taken from the border inwards, and it counts only if its outline is a rectangle (at any
angle), an ellipse or another convex shape with straight sides. Where air inside the field is as black as the shutter
the outline follows the anatomy; then the whole image is the field, for nothing may be cut away on a guess. Where
nothing flat lies outside, as in a collimator's grey shadow, a rectangle may still be known by its four edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.edges import refine_rectangle
from radray.cleaning.intensity import Grey, Mask
from radray.cleaning.lines import find_rectangle
from radray.cleaning.plate import find_plate

Polygon = npt.NDArray[np.float32]
"""Corners (x, y) in pixels, float32 [points, 2]; (0, 0) is the outer corner of the first pixel."""

_DETECT_PX = 256
_TOLERANCES = (0.0, 0.02, 0.045, 0.08)
_MIN_STEP = 0.08
"""Step in grey across four fifths of a field's edge where the outside is not black; skin ends more softly."""

_RIM = 0.12
"""Height of a thin line above its surroundings that makes it a rim."""
_MAX_SPREAD = 0.05
"""Spread of the grey outside a field that is not black; tissue at the border varies more."""

_LEAST_AREA = 0.15
"""Share of the image that a rectangle known by its edges alone has at least: smaller ones are plates and text boxes."""
_LEAST_DETAIL = 0.4
"""Share of the image's edges that a field holds at least: outside it nothing was exposed."""

Kind = Literal["whole", "rectangle", "ellipse", "polygon"]
_PREFERENCE: tuple[Kind, ...] = ("rectangle", "ellipse", "polygon")


@dataclass(frozen=True, kw_only=True)
class ExposedField:
    """The exposed field of one image."""

    polygon: Polygon
    """Outline in pixels of the image given, [points, 2]."""
    kind: Kind
    """Whole image, rectangle at an angle, circle or ellipse (or part of one), or another convex outline."""
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
        The field; the whole image when no convincing outline is found. A rectangle goes before an ellipse, that before
        another polygon, and of the same kind the smallest wins.
    """
    rows, columns = grey.shape
    factor = min(1.0, _DETECT_PX / max(rows, columns))
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    fine = np.asarray((small * 255).astype(np.uint8), np.uint8)
    levels = np.asarray(cv2.medianBlur(fine, 5), np.uint8)
    plate = find_plate(levels)
    beyond = np.full(levels.shape, 255, np.uint8)
    cv2.fillConvexPoly(beyond, np.round(plate * 16 - 8).astype(np.int32), 0, shift=4)
    found: list[tuple[int, float, ExposedField]] = []
    for group, least_step in _flat_areas(levels, fine):
        for flat in group:
            outline = _outline(np.bitwise_or(flat, beyond), min_area)
            field = None if outline is None else _recognise(outline, levels.shape, support)
            if field is None or _step(levels, field.polygon) < least_step:
                continue
            if field.kind == "polygon" and least_step == 0:
                continue  # A convex body part on black air: nothing lies outside that must go.
            if _detail_inside(levels, field.polygon) < _LEAST_DETAIL:
                continue  # A marker's frame, or a dark strip beside the anatomy.
            found.append((_PREFERENCE.index(field.kind), float(cv2.contourArea(field.polygon)), field))
            if field.kind == "rectangle":
                break
    if found:
        best = min(found, key=lambda candidate: candidate[:2])[2]
    elif (seen := find_rectangle(levels if _is_noisy(fine, levels) else fine, max(min_area, _LEAST_AREA))) is not None:
        best = ExposedField(polygon=seen[0], kind="rectangle", angle_deg=upright_turn(seen[1]))
    elif beyond.any():
        best = ExposedField(polygon=plate, kind="polygon", angle_deg=0.0)
    else:
        return whole_image(grey)
    scale = np.array([columns / size[0], rows / size[1]], np.float32)
    polygon = best.polygon * scale
    if best.kind == "rectangle":
        polygon = refine_rectangle(grey, polygon)
    return ExposedField(polygon=polygon, kind=best.kind, angle_deg=best.angle_deg)


def _flat_areas(levels: Mask, fine: Mask) -> list[tuple[list[Mask], float]]:
    """What may lie outside: pixels near the one or two commonest grey values of the border.

    Args:
        levels: The image without noise.
        fine: The image with its thin lines.

    Returns:
        Groups of masks, each from strict to tolerant, with the step in grey that a field's edge must show.
    """
    ring = np.concatenate([levels[:2].ravel(), levels[-2:].ravel(), levels[:, :2].ravel(), levels[:, -2:].ravel()])
    groups: list[tuple[list[Mask], float]] = []
    line = cv2.subtract(cv2.dilate(fine, np.ones((2, 2), np.uint8)), levels)
    # A thin bright rim stops the flood where the other side of it is as grey as this one.
    open_to_flood = np.asarray(cv2.inRange(line, 0, _RIM * 255), np.uint8)
    for mode, spread in _modes(ring):
        low_open, high_open = mode - spread <= 0.12 * 255, mode + spread >= 0.88 * 255
        if spread > _MAX_SPREAD * 255 and not low_open:
            continue
        reach = [spread + tolerance * 255 for tolerance in _TOLERANCES]
        spans = [(0.0 if low_open else mode - r, 255.0 if high_open else mode + r) for r in reach]
        masks = [np.asarray(cv2.inRange(levels, low, high), np.uint8) for low, high in spans]
        groups.append(([np.bitwise_and(mask, open_to_flood) for mask in masks], 0.0 if low_open else _MIN_STEP))
    if len(groups) > 1:
        groups.append(([np.bitwise_or(groups[0][0][0], groups[1][0][0])], _MIN_STEP))
    return groups


def _modes(ring: Mask) -> list[tuple[float, float]]:
    """The one or two commonest grey values of the border (each ≥ 15 % of it), with a spread that covers its noise."""
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
    ellipse = _find_ellipse(points, hull, shape)
    if ellipse is not None:
        return ExposedField(polygon=ellipse, kind="ellipse", angle_deg=0.0)
    if cv2.contourArea(points) < 0.95 * cv2.contourArea(hull):
        return None
    corners = cv2.approxPolyDP(hull, 0.012 * cv2.arcLength(hull, True), True)[:, 0, :].astype(np.float32)
    if 3 <= len(corners) <= 8 and _sides_followed(points, corners, shape, support):
        grown = (hull + 0.5 + 0.5 * np.sign(hull - hull.mean(axis=0))).astype(np.float32)
        return ExposedField(polygon=grown, kind="polygon", angle_deg=0.0)
    return None


def _sides_followed(points: Polygon, corners: Polygon, shape: tuple[int, ...], support: float) -> bool:
    """Whether the outline follows the sides of the polygon `corners`.

    Every side by `support`, or the whole circumference by that with two sides of four followed nearly all along: bone
    as white as the outside eats into the others. Sides along the image's own edge may be half open.
    """
    limit = np.array([shape[1] - 1, shape[0] - 1])
    following = np.roll(corners, -1, axis=0)
    shares: list[float] = []
    for start, end in zip(corners, following, strict=True):
        middle = (start + end) / 2
        on_edge = bool(((np.abs(middle) <= 1.5) | (np.abs(limit - middle) <= 1.5)).any())
        shares.append(min(1.0, _followed(points, start, end) / (0.5 if on_edge else 1.0)))
    if min(shares) >= support:
        return True
    lengths = np.hypot(*(following - corners).T)
    around = float(np.average(shares, weights=lengths))
    return len(corners) == 4 and min(shares) >= 0.2 and sorted(shares)[2] >= 0.9 and around >= 0.9 * support


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


def _find_ellipse(points: Polygon, hull: Polygon, shape: tuple[int, ...]) -> Polygon | None:
    """The ellipse through the hull's corners away from the image's edge, if they and most of the outline lie on it.

    Circles and ellipses up to 3 : 1; the image may cut off parts. Residual ≤ 1.5 % of the radius (root mean square).
    """
    limit = np.array([shape[1] - 1, shape[0] - 1])
    corners = hull[((hull > 1.5) & (hull < limit - 1.5)).all(axis=1)]
    if len(corners) < 14:
        return None
    centre, axes, tilt = cv2.fitEllipse(corners)
    if min(axes) < 16 or max(axes) > 3 * min(axes) or max(axes) > 2 * max(shape):
        return None
    turn = np.deg2rad(tilt)
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def radius(some: Polygon) -> npt.NDArray[np.float64]:
        return np.asarray(np.hypot(*((some - centre) @ frame / (np.array(axes) / 2)).T), np.float64)

    free = points[((points > 1.5) & (points < limit - 1.5)).all(axis=1)]
    on_corners, on_outline = radius(corners) - 1, np.abs(radius(free) - 1)
    if np.sqrt(np.mean(on_corners**2)) > 0.015 or np.mean(on_outline <= 0.03) < 0.7 or len(free) < 0.3 * len(points):
        return None
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (np.array(axes) / 2 + 0.5) @ frame.T + centre + 0.5
    return np.asarray(np.clip(rim, 0, limit + 1), np.float32)


def _step(levels: Mask, polygon: Polygon) -> float:
    """The step in grey that a fifth of the polygon's edge falls short of, away from the image's own edges."""
    rows, columns = levels.shape
    following = np.roll(polygon, -1, axis=0)
    away = following - polygon
    along = np.linspace(0.05, 0.95, 40 if len(polygon) <= 8 else 3, dtype=np.float32)
    places = (polygon[:, None] + away[:, None] * along[None, :, None]).reshape(-1, 2)
    normals = np.stack([away[:, 1], -away[:, 0]], axis=1) / np.maximum(1e-3, np.hypot(away[:, 0], away[:, 1]))[:, None]
    normals = np.repeat(normals, len(along), axis=0)
    outer, inner = places + 2.5 * normals - 0.5, places - 2.5 * normals - 0.5
    limit = np.array([columns - 1, rows - 1])
    seen = ((outer >= 0) & (outer <= limit) & (inner >= 0) & (inner <= limit)).all(axis=1)
    if seen.sum() < 16:
        return 0.0
    (x0, y0), (x1, y1) = outer[seen].astype(int).T, inner[seen].astype(int).T
    steps = np.abs(levels[y0, x0].astype(np.float32) - levels[y1, x1].astype(np.float32))
    return float(np.quantile(steps, 0.2)) / 255


def _is_noisy(fine: Mask, levels: Mask) -> bool:
    """Whether noise hides edges: half of all pixels differ by four grey levels or more from their surroundings."""
    return float(np.median(cv2.absdiff(fine, levels)[::2, ::2])) >= 4


def _detail_inside(levels: Mask, polygon: Polygon) -> float:
    """Share of the image's edges (other than the polygon's own) that lie inside it, 0 to 1."""
    slope = np.abs(cv2.Scharr(levels, cv2.CV_32F, 1, 0)) + np.abs(cv2.Scharr(levels, cv2.CV_32F, 0, 1))
    slope = np.asarray(np.maximum(slope / 32 - 0.02 * 255, 0), np.float32)
    corners = [np.round(polygon - 0.5).astype(np.int32)]
    cv2.polylines(slope, corners, True, 0.0, 7)
    inside = cv2.fillPoly(np.zeros(levels.shape, np.uint8), corners, 1)
    total = float(slope.sum())
    return float((slope * inside).sum()) / total if total else 1.0


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
    # A mask without an edge is infinitely far from one.
    weight = np.clip((np.minimum(distance, 1e6) - band_px) / max(feather_px, 1e-3), 0.0, 1.0)
    return np.asarray(cv2.multiply(grey, weight.astype(np.float32)), np.float32)
