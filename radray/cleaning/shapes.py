"""Shapes a collimator leaves open: rectangles at any angle, circles and ellipses, other convex outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Polygon = npt.NDArray[np.float32]
"""Corners (x, y) in pixels, float32 [points, 2]; (0, 0) is the outer corner of the first pixel."""

Kind = Literal["whole", "rectangle", "ellipse", "polygon"]
_ON_ELLIPSE = 0.03
"""Distance from an ellipse, in its radii, at which a point lies on it."""


@dataclass(frozen=True, kw_only=True)
class ExposedField:
    """The exposed field of one image."""

    polygon: Polygon
    """Outline in pixels of the image given, [points, 2]."""
    kind: Kind
    """Whole image, rectangle at an angle, circle or ellipse (or part of one), or another convex outline."""
    angle_deg: float
    """Counter-clockwise turn that puts a rectangle upright, −45 to 45 degrees; 0 for other kinds."""


def recognise_shape(
    points: Polygon, shape: tuple[int, ...], support: float, least_on: float = 0.7
) -> ExposedField | None:
    """The field whose edge is the outline `points` (pixel centres), if it looks like one.

    Args:
        points: Float32 [points, 2] of (x, y).
        shape: (rows, columns) of the image.
        support: Share of each side that the outline must follow.
        least_on: Share of the outline that must lie on an ellipse.
    """
    hull = np.asarray(cv2.convexHull(points)[:, 0, :], np.float32)
    rectangle = cv2.minAreaRect(hull)
    (x, y), (width, height), tilt = rectangle
    if min(width, height) < 8:
        return None
    if _sides_followed(points, np.asarray(cv2.boxPoints(rectangle), np.float32), shape, support):
        # Outline points are pixel centres: the rectangle grows by half a pixel on each side.
        grown = np.asarray(cv2.boxPoints(((x + 0.5, y + 0.5), (width + 1, height + 1), tilt)), np.float32)
        return ExposedField(polygon=grown, kind="rectangle", angle_deg=upright_turn(tilt))
    ellipse = _find_ellipse(points, hull, shape, least_on)
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
    as white as the outside eats into the others. Sides along the image's own edge may be half open, and vouch for no
    others.
    """
    limit = np.array([shape[1] - 1, shape[0] - 1])
    following = np.roll(corners, -1, axis=0)
    middle = (corners + following) / 2
    on_edge = ((np.abs(middle) <= 1.5) | (np.abs(limit - middle) <= 1.5)).any(axis=1)
    shares = np.minimum(1.0, _followed(points, corners, following) * np.where(on_edge, 2.0, 1.0))
    if shares.min() >= support:
        return True
    around = float(np.average(shares, weights=np.hypot(*(following - corners).T)))
    free = float(shares[~on_edge].mean()) if not on_edge.all() else 1.0
    most = np.sort(shares)[2:].min() >= 0.9 and around >= 0.9 * support and free >= 0.6
    return bool(len(corners) == 4 and shares.min() >= 0.2 and most)


def _followed(points: Polygon, start: Polygon, end: Polygon) -> npt.NDArray[np.float64]:
    """The share of each segment, `start` to `end` [segments, 2], with an outline point within 1.5 pixels or 1 %."""
    length = np.maximum(1.0, np.hypot(*(end - start).T))[:, None]
    unit = (end - start) / length
    offset = points[None] - start[:, None]
    distance = np.abs(offset[..., 0] * unit[:, 1:] - offset[..., 1] * unit[:, :1])
    along = offset[..., 0] * unit[:, :1] + offset[..., 1] * unit[:, 1:]
    near = (distance <= np.maximum(1.5, 0.01 * length)) & (along >= -1.5) & (along <= length + 1.5)
    bins = np.maximum(8, (length / 3).astype(int))
    places = np.clip((along / length * bins).astype(int), 0, bins - 1)
    seen = np.zeros((len(start), int(bins.max())), bool)
    seen[np.nonzero(near)[0], places[near]] = True
    return np.asarray(seen.sum(axis=1) / bins[:, 0], np.float64)


def _find_ellipse(points: Polygon, hull: Polygon, shape: tuple[int, ...], least_on: float) -> Polygon | None:
    """The ellipse through the hull's corners away from the image's edge, if they and most of the outline lie on it.

    Circles and ellipses up to 3 : 1; the image may cut off parts. Residual ≤ 1.5 % of the radius (root mean square).
    """
    limit = np.array([shape[1] - 1, shape[0] - 1])
    corners = hull[((hull > 1.5) & (hull < limit - 1.5)).all(axis=1)]
    if len(corners) < 14:
        return None
    centre, axes, tilt = cv2.fitEllipse(corners)
    for _ in range(3):
        off = np.abs(_radius(corners, centre, axes, tilt) - 1)
        if off.max() <= _ON_ELLIPSE or (off <= _ON_ELLIPSE).sum() < 14:
            break
        # Something sticks out: a ruler, a marker across the edge.
        corners = corners[off <= max(_ON_ELLIPSE, 0.5 * off.max())]
        centre, axes, tilt = cv2.fitEllipse(corners)
    if min(axes) < 16 or max(axes) > 3 * min(axes) or max(axes) > 2 * max(shape):
        return None
    free = points[((points > 1.5) & (points < limit - 1.5)).all(axis=1)]
    spread = float(np.sqrt(np.mean((_radius(corners, centre, axes, tilt) - 1) ** 2)))
    on_outline = float(np.mean(np.abs(_radius(free, centre, axes, tilt) - 1) <= _ON_ELLIPSE))
    if spread > 0.015 or on_outline < least_on or len(free) < 0.3 * len(points):
        return None
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (np.array(axes) / 2 + 0.5) @ _frame(tilt).T + centre + 0.5
    return np.asarray(np.clip(rim, 0, limit + 1), np.float32)


def _frame(tilt_deg: float) -> npt.NDArray[np.float64]:
    turn = np.deg2rad(tilt_deg)
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _radius(
    points: Polygon, centre: Sequence[float], axes: Sequence[float], tilt_deg: float
) -> npt.NDArray[np.float64]:
    """Distance of points from an ellipse's centre, in its radii."""
    return np.asarray(np.hypot(*((points - centre) @ _frame(tilt_deg) / (np.array(axes) / 2)).T), np.float64)


def upright_turn(angle_deg: float) -> float:
    """The smallest turn, −45 to 45 degrees, that puts a side at `angle_deg` (OpenCV's minAreaRect) on an axis."""
    turn = angle_deg % 90.0
    return turn - 90.0 if turn > 45.0 else turn
