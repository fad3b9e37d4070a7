"""The exposed field: what the collimator left open.

Outside it an image is flat: black where a shutter was applied, white where it was not. The field is what remains
when those flat areas are taken from the border inwards, and it counts only if its outline is a rectangle (at any
angle), an ellipse or another convex shape with straight sides. Where air inside the field is as black as the shutter
the outline follows the anatomy; then the whole image is the field, for nothing may be cut away on a guess. Where
nothing flat lies outside, as in a collimator's grey shadow, a rectangle may still be known by its four edges, and a
rectangle or an ellipse by the quiet around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import cv2
import numpy as np

from radray.cleaning.edges import refine_rectangle
from radray.cleaning.flood import MIN_STEP, Group, flat_areas, flood_outline, quiet_outline, shutter_areas
from radray.cleaning.intensity import Grey, Mask
from radray.cleaning.lines import find_rectangle, outside_of
from radray.cleaning.plate import find_plate
from radray.cleaning.shapes import ExposedField, Kind, Polygon, recognise_shape, upright_turn

_DETECT_PX, _LEAST_PX = 256, 8
_FADES, _FALLS = 0.13, 0.35
"""Share of the step across an edge that is left a pixel outside it, at most, and that falls within three, at least."""
_SAME = 0.002
"""Share of the image by which outlines from two tolerances differ in area, at least, for both to be looked at."""
_LEAST_AREA = 0.15
"""Share of the image that a rectangle known by its edges alone has at least: smaller ones are plates and text boxes."""
_LEAST_DETAIL = 0.4
"""Share of the image's edges that a field holds at least: outside it nothing was exposed."""

_PREFERENCE: tuple[Kind, ...] = ("rectangle", "ellipse", "polygon")


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
    if min(levels.shape) < _LEAST_PX:
        return whole_image(grey)
    plate = find_plate(levels)
    beyond = np.full(levels.shape, 255, np.uint8)
    cv2.fillConvexPoly(beyond, np.round(plate * 16 - 8).astype(np.int32), 0, shift=4)
    flood = partial(_flood, levels=levels, fine=fine, beyond=beyond, min_area=min_area, support=support)
    if (flat := flood(flat_areas)) is not None:
        best = flat
    elif (edged := _find_by_edges(levels if _is_noisy(fine, levels) else fine, min_area, support)) is not None:
        best = edged
    elif (shuttered := flood(shutter_areas)) is not None:
        best = shuttered
    elif beyond.any():
        best = ExposedField(polygon=plate, kind="polygon", angle_deg=0.0)
    else:
        return whole_image(grey)
    scale = np.array([columns / size[0], rows / size[1]], np.float32)
    polygon = best.polygon * scale
    if best.kind == "rectangle":
        polygon = refine_rectangle(grey, polygon)
    return ExposedField(polygon=polygon, kind=best.kind, angle_deg=best.angle_deg)


def _flood(
    areas: Callable[[Mask, Mask], list[Group]], levels: Mask, fine: Mask, beyond: Mask, min_area: float, support: float
) -> ExposedField | None:
    """The best field that flat areas leave."""
    found = (_flooded(group, levels, fine, beyond, min_area, support) for group in areas(levels, fine))
    return min(chain.from_iterable(found), key=_rank, default=None)


def _flooded(
    group: Group, levels: Mask, fine: Mask, beyond: Mask, min_area: float, support: float
) -> Iterator[ExposedField]:
    """The fields that the masks of a group leave when flooded from the border, up to the first rectangle."""
    masks, least_step = group
    looked_at = 0.0
    for flat in masks:
        outline = flood_outline(np.bitwise_or(flat, beyond), min_area)
        if outline is None or abs(cv2.contourArea(outline) - looked_at) < _SAME * levels.size:
            continue
        looked_at = cv2.contourArea(outline)
        field = recognise_shape(outline, levels.shape, support)
        if field is None or _step(levels, field.polygon) < least_step:
            continue
        if field.kind == "polygon" and least_step == 0:
            continue  # A convex body part on black air: nothing lies outside that must go.
        if field.kind == "ellipse" and not _ends_sharply(fine, field.polygon):
            continue  # A head on black air.
        if _detail_inside(levels, field.polygon) < _LEAST_DETAIL:
            continue  # A marker's frame, or a dark strip beside the anatomy.
        yield field
        if field.kind == "rectangle":
            return


def _rank(field: ExposedField) -> tuple[int, float]:
    return _PREFERENCE.index(field.kind), float(cv2.contourArea(field.polygon))


def _find_by_edges(levels: Mask, min_area: float, support: float) -> ExposedField | None:
    """The field where nothing flat lies outside: a rectangle by its four sides, or any shape in quiet surroundings."""
    min_area = max(min_area, _LEAST_AREA)
    if (seen := find_rectangle(levels, min_area)) is not None:
        return ExposedField(polygon=seen[0], kind="rectangle", angle_deg=upright_turn(seen[1]))
    return _find_in_quiet(levels, min_area, support)


def _find_in_quiet(levels: Mask, min_area: float, support: float) -> ExposedField | None:
    """The rectangle or ellipse that the quiet around it, whatever its grey, leaves when flooded up to edges."""
    outline = quiet_outline(levels, min_area)
    field = None if outline is None else recognise_shape(outline, levels.shape, min(support, 0.7), least_on=0.4)
    if field is None or field.kind == "polygon":
        return None
    step, is_rectangle = _step(levels, field.polygon), field.kind == "rectangle"
    if step < 0.01 or not (is_rectangle or _ends_sharply(levels, field.polygon)):
        return None
    outside = outside_of(levels, field.polygon)
    if outside is None or (outside == "dark shadow" and not (is_rectangle and step >= MIN_STEP)):
        return None
    return field


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


def _ends_sharply(levels: Mask, polygon: Polygon) -> bool:
    """Whether the grey at a smooth outline falls at once to that outside, as at a collimator's edge; skin fades."""
    along = np.roll(polygon, -1, axis=0) - np.roll(polygon, 1, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    normal /= np.maximum(1e-6, np.hypot(along[:, 0], along[:, 1]))[:, None]
    normal *= np.sign(((polygon - polygon.mean(axis=0)) * normal).sum(axis=1))[:, None]
    places = polygon[:, None] + normal[:, None] * np.array([-6, -2, 1, 6], np.float32)[None, :, None] - 0.5
    limit = np.array([levels.shape[1] - 2, levels.shape[0] - 2])
    places = places[((places >= 1) & (places <= limit)).all(axis=(1, 2))].astype(np.float32)
    if len(places) < 10:
        return True
    grey = cv2.remap(levels.astype(np.float32), places[..., 0], places[..., 1], cv2.INTER_LINEAR)
    deep, inside, near, far = np.median(grey, axis=0)
    return bool(abs(near - far) <= _FADES * abs(inside - far) and abs(inside - near) >= _FALLS * abs(deep - far))


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


def fade_outside(grey: Grey, field: ExposedField, band_px: float, feather_px: float) -> Grey:
    """Blank what lies outside the field and a band along its edge, and fade in behind the band.

    Edges that are the image's own stay untouched.
    """
    limit = np.array([grey.shape[1], grey.shape[0]]) - 1
    corners = np.round(field.polygon - 0.5).astype(np.int32)
    mask = np.zeros(grey.shape, np.uint8)
    cv2.fillPoly(mask, [corners], 255)
    feather = max(1, round(feather_px))
    width = round(2 * band_px + feather_px)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ends = np.stack([start, end])
        if width and not ((ends <= 0).all(axis=0) | (ends >= limit).all(axis=0)).any():
            cv2.line(mask, start.tolist(), end.tolist(), 0, width)
    weight = cv2.blur(mask, (feather, feather), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.multiply(grey, weight, scale=1 / 255, dtype=cv2.CV_32F), np.float32)
