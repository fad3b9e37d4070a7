"""What a phantom body is made of: outlines in millimetres with a depth, collected in a `Sketch`.

Coordinates are (x, y) in mm, x to the image's right, y downwards, proximal (or cranial) at the top. The projection
turns each outline into a map of path lengths: a part with rim radius R and depth D has, at distance d from its
outline, the chord D·sqrt(1 − (1 − min(d/R, 1))²): a cylinder where R is the outline's half width, a plate where R is small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points [n, 2], (x, y) in mm."""


@dataclass(kw_only=True)
class Part:
    """One bone, muscle mass or air space: the union of its outlines."""

    outlines: list[Points]
    """Closed polygons in mm."""
    rim: float
    """Radius over which the depth rises from the outline inwards, mm."""
    depth: float
    """Greatest path length through the part, mm."""
    cortex: float = 0.0
    """Thickness of the dense shell, mm; 0 means no shell."""
    hollow: float = 0.0
    """How much of the inside is missing, 0 (solid) to 1 (empty)."""


class View(NamedTuple):
    """How the body part is looked at and framed."""

    name: str
    """View position: AP, PA, LAT, OBL, AX, Y."""
    centre: tuple[float, float]
    """Middle of the nominal exposed field, mm."""
    field: tuple[float, float]
    """Width and height of the nominal exposed field, mm."""


@dataclass(kw_only=True)
class Sketch:
    """The parts of one projected body part, and how it is framed."""

    view: View
    bones: list[Part] = field(default_factory=list)
    soft: list[Part] = field(default_factory=list)
    """Soft-tissue parts; their union is one body, the deepest rim and depth at each place count."""
    air: list[Part] = field(default_factory=list)
    """Air inside the body, taken from the soft tissue."""
    plane: list[tuple[Points, float]] = field(default_factory=list)
    """Axes of long bones with their radius, where a plate or nail may lie."""

    def tube(
        self,
        points: list[tuple[float, float]] | Points,
        radii: list[float],
        *,
        cortex: float = 2.2,
        hollow: float = 0.8,
        depth: float | None = None,
        extra: list[Points] | None = None,
        shaft: bool = False,
    ) -> None:
        """Add a bone along a smooth axis with radii interpolated between its ends (mm), united with `extra` outlines."""
        axis = smooth(points)
        self.bones.append(
            Part(
                outlines=[tube(axis, radii), *(extra or [])],
                rim=float(np.mean(radii)),
                depth=depth if depth is not None else 2.0 * float(np.mean(radii)),
                cortex=min(cortex, 0.45 * float(np.min(radii)) + 0.4),
                hollow=hollow,
            )
        )
        if shaft:
            self.plane.append((axis, float(np.median(radii))))

    def blob(
        self,
        outlines: list[Points] | Points,
        *,
        rim: float,
        depth: float,
        cortex: float = 1.4,
        hollow: float = 0.7,
    ) -> None:
        """Add a bone given by closed outlines (their union)."""
        shapes = outlines if isinstance(outlines, list) else [outlines]
        self.bones.append(Part(outlines=shapes, rim=rim, depth=depth, cortex=cortex, hollow=hollow))

    def flesh(self, outlines: list[Points] | Points, *, rim: float, depth: float) -> None:
        """Add soft tissue."""
        shapes = outlines if isinstance(outlines, list) else [outlines]
        self.soft.append(Part(outlines=shapes, rim=rim, depth=depth))

    def gas(self, outlines: list[Points] | Points, *, rim: float, depth: float) -> None:
        """Add an air space."""
        shapes = outlines if isinstance(outlines, list) else [outlines]
        self.air.append(Part(outlines=shapes, rim=rim, depth=depth))


def smooth(points: list[tuple[float, float]] | Points, *, closed: bool = False, steps: int = 8) -> Points:
    """Catmull-Rom curve through the points, `steps` samples a segment: [n, 2] -> [n·steps (+1 if open), 2]."""
    knots = np.asarray(points, dtype=np.float64)
    if len(knots) < 3 and not closed:
        return knots[0] + np.linspace(0.0, 1.0, steps + 1)[:, None] * (knots[-1] - knots[0])
    if closed:
        before, after, last = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
        start = knots
    else:
        padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
        before, start, after, last = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (before, start, after, last))
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, knots[-1]])


def blob(points: list[tuple[float, float]] | Points) -> Points:
    """Closed smooth outline through the points."""
    return smooth(points, closed=True, steps=6)


def tube(axis: Points, radii: list[float]) -> Points:
    """Outline of a tube with round ends along `axis` [n, 2], radii spread evenly along it and interpolated smoothly."""
    n = len(axis)
    knots = np.stack([np.linspace(0, 1, len(radii)), np.asarray(radii, dtype=np.float64)], axis=1)
    profile = smooth(knots, steps=8)
    radius = np.interp(np.linspace(0, 1, n), profile[:, 0], profile[:, 1])
    along = np.gradient(axis, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    left, right = axis + normal * radius[:, None], axis - normal * radius[:, None]
    angles = np.linspace(0, np.pi, 7)[1:-1]
    # Flattened caps: bone ends are broader than half circles.
    cap_end = [axis[-1] + radius[-1] * (np.cos(a) * normal[-1] + 0.55 * np.sin(a) * along[-1]) for a in angles]
    cap_start = [axis[0] + radius[0] * (-np.cos(a) * normal[0] - 0.55 * np.sin(a) * along[0]) for a in angles]
    return np.vstack([left, cap_end, right[::-1], cap_start])


def ellipse(centre: tuple[float, float], rx: float, ry: float, angle_deg: float = 0.0, n: int = 32) -> Points:
    """Outline of an ellipse with half axes rx, ry (mm), turned clockwise by `angle_deg`."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return turn(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), angle_deg) + np.asarray(centre)


def box(centre: tuple[float, float], width: float, height: float, angle_deg: float = 0.0, waist: float = 0.08) -> Points:
    """Outline of a vertebral body: a rectangle with rounded corners and concave sides."""
    w, h = width / 2, height / 2
    corners = [
        (-w, -h), (0, -h * (1 - waist)), (w, -h), (w * (1 - waist), 0), (w, h), (0, h * (1 - waist)), (-w, h), (-w * (1 - waist), 0),
    ]  # fmt: skip
    return turn(blob(corners), angle_deg) + np.asarray(centre)


def turn(points: Points, angle_deg: float, about: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Rotate points clockwise (y down) about a point."""
    a = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (np.asarray(points) - about) @ rotation + about


def step(start: tuple[float, float], angle_deg: float, length: float) -> tuple[float, float]:
    """The point `length` mm from `start` in direction `angle_deg` (0 is up, 90 is right)."""
    a = np.deg2rad(angle_deg)
    return (start[0] + length * float(np.sin(a)), start[1] - length * float(np.cos(a)))


def map_points(sketch: Sketch, function: object) -> Sketch:
    """The sketch with every outline and axis passed through `function` (points [n, 2] -> points [n, 2])."""
    assert callable(function)
    for part in (*sketch.bones, *sketch.soft, *sketch.air):
        part.outlines = [function(outline) for outline in part.outlines]
    sketch.plane = [(function(axis), radius) for axis, radius in sketch.plane]
    return sketch
