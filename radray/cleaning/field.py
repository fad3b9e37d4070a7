"""The exposed field: what the collimator left open.

Outside it an image is flat: black where a shutter was applied, white where it was not. The field is what remains
when those flat areas are taken from the border inwards, and it counts only if its outline is a rectangle (at any
angle), a circle or another convex shape. Where air inside the field is as black as the shutter the outline follows the anatomy;
then the whole image is the field, for nothing may be cut away on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Grey, Mask

Polygon = npt.NDArray[np.float32]
"""Corners (x, y) in pixels, float32 [points, 2]; (0, 0) is the outer corner of the first pixel."""

_DETECT_PX = 256
_DARK = (0.02, 0.045, 0.08)
_BRIGHT = (0.06, 0.15)


@dataclass(frozen=True, kw_only=True)
class ExposedField:
    """The exposed field of one image."""

    polygon: Polygon
    """Outline in pixels of the image given, [points, 2]."""
    kind: Literal["whole", "rectangle", "convex"]
    """Whole image, rectangle at an angle, or another convex outline."""
    angle_deg: float
    """Counter-clockwise turn that puts a rectangle upright, −45 to 45 degrees; 0 for other kinds."""
    outside: Literal["none", "dark", "bright"]
    """What lies outside the field."""


def whole_image(grey: Grey) -> ExposedField:
    """The field of an image without collimation."""
    rows, columns = grey.shape
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    return ExposedField(polygon=corners, kind="whole", angle_deg=0.0, outside="none")


def find_exposed_field(grey: Grey, *, min_area: float = 0.06, support: float = 0.75) -> ExposedField:
    """Find the exposed field of a normalised radiograph.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        min_area: Smallest share of the image a field may have.
        support: Share of each side of a rectangle that the outline must follow.

    Returns:
        The field; the whole image when no convincing outline is found.
    """
    rows, columns = grey.shape
    factor = min(1.0, _DETECT_PX / max(rows, columns))
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    levels = np.asarray(cv2.medianBlur((small * 255).astype(np.uint8), 3), np.uint8)
    scale = np.array([columns / size[0], rows / size[1]], np.float32)
    ring = np.concatenate(
        [
            levels[:2].ravel(),
            levels[-2:].ravel(),
            levels[:, :2].ravel(),
            levels[:, -2:].ravel(),
        ]
    )
    for outside, flat in _flat_areas(levels, ring):
        found = _judge(flat, min_area, support)
        if found is not None:
            polygon, kind, angle = found
            limit = np.array([columns, rows], np.float32)
            placed = np.clip(polygon * scale, 0, limit) if kind == "convex" else polygon * scale
            return ExposedField(
                polygon=placed.astype(np.float32),
                kind=kind,
                angle_deg=angle,
                outside="dark" if outside == "dark" else "bright",
            )
    return whole_image(grey)


def _flat_areas(levels: Mask, ring: Mask) -> list[tuple[str, Mask]]:
    """Masks of what may lie outside, strictest first: levels near the border's darkest, then its brightest."""
    areas: list[tuple[str, Mask]] = []
    dark, bright = float(np.quantile(ring, 0.1)), float(np.quantile(ring, 0.9))
    if dark <= 90:
        for tolerance in _DARK:
            areas.append(("dark", np.asarray(cv2.inRange(levels, 0, dark + tolerance * 255), np.uint8)))
    if bright >= 170:
        for tolerance in _BRIGHT:
            areas.append(("bright", np.asarray(cv2.inRange(levels, bright - tolerance * 255, 255), np.uint8)))
    return areas


def _judge(flat: Mask, min_area: float, support: float) -> tuple[Polygon, Literal["rectangle", "convex"], float] | None:
    rows, columns = flat.shape
    # A frame of one pixel joins the flat areas at the border, so that one flood fill takes them all.
    framed = cv2.copyMakeBorder(flat, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 128)
    inside = (framed[1:-1, 1:-1] != 128).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    points = contour[:, 0, :].astype(np.float32)
    area = cv2.contourArea(contour)
    if area < min_area * rows * columns or area > 0.985 * (rows - 1) * (columns - 1) or len(points) < 16:
        return None
    rectangle = cv2.minAreaRect(points)
    (centre_x, centre_y), (width, height), _ = rectangle
    if min(width, height) < 8:
        return None
    corners = cv2.boxPoints(rectangle)
    if all(_followed(points, corners[i], corners[(i + 1) % 4]) >= support for i in range(4)):
        # Contour points are pixel centres: the rectangle grows by half a pixel on each side.
        grown = cv2.boxPoints(((centre_x + 0.5, centre_y + 0.5), (width + 1, height + 1), rectangle[2]))
        return np.asarray(grown, np.float32), "rectangle", upright_turn(rectangle[2])
    hull = cv2.convexHull(points)[:, 0, :]
    if area >= 0.97 * cv2.contourArea(hull):
        away = hull - hull.mean(axis=0)
        return (hull + 0.5 + 0.5 * np.sign(away)).astype(np.float32), "convex", 0.0
    return None


def _followed(points: Polygon, start: Polygon, end: Polygon) -> float:
    """The share of the segment from `start` to `end` that has an outline point within 1.5 pixels or 1 %."""
    along = end - start
    length = float(np.hypot(*along))
    unit = along / length
    offset = points - start
    distance = np.abs(offset[:, 0] * unit[1] - offset[:, 1] * unit[0])
    near = (offset @ unit)[distance <= max(1.5, 0.01 * length)]
    bins = max(8, int(length / 3))
    filled = np.unique(np.clip((near / length * bins).astype(int), 0, bins - 1))
    return len(filled) / bins


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
