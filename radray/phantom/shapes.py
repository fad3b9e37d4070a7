"""What a phantom body is made of: outlines in millimetres with a depth, collected in a `Sketch`.

Coordinates are (x, y) in mm, x to the image's right, y downwards, proximal (or cranial) at the top. The projection
turns each outline into a map of path lengths: a part with rim radius R and depth D has, at distance d from its outline,
the chord D·sqrt(1 − (1 − min(d/R, 1))²): a cylinder where R is the outline's half width, a plate where R is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points [n, 2], (x, y) in mm."""
Knots = Sequence[tuple[float, float]] | Points
"""Points as a table or as an array."""


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
        points: Knots,
        radii: Sequence[float],
        *,
        cortex: float = 2.2,
        hollow: float = 0.8,
        depth: float | None = None,
        extra: list[Points] | None = None,
        shaft: bool = False,
    ) -> None:
        """Add a bone along a smooth axis with radii (mm) spread along it, united with `extra` outlines."""
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


@lru_cache(maxsize=8)
def _catmull_rom(steps: int) -> NDArray[np.float64]:
    """Weights [steps, 4] of four neighbouring knots at `steps` places of the segment between the middle two."""
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    powers = np.hstack([np.ones_like(t), t, t**2, t**3])
    weights: NDArray[np.float64] = (
        0.5
        * powers
        @ np.array([[0.0, 2.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0], [2.0, -5.0, 4.0, -1.0], [-1.0, 3.0, -3.0, 1.0]])
    )
    return weights


def smooth(points: Knots, *, closed: bool = False, steps: int = 6) -> Points:
    """Catmull-Rom curve through the points, `steps` samples a segment: [n, 2] -> [n·steps (+1 if open), 2]."""
    knots = np.asarray(points, dtype=np.float64)
    n = len(knots)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    segments = n if closed else n - 1
    four = np.stack([padded[i : i + segments] for i in range(4)], axis=1)
    curve: Points = np.matmul(_catmull_rom(steps), four).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def blob(points: Knots) -> Points:
    """Closed smooth outline through the points."""
    return smooth(points, closed=True, steps=6)


_CAP = np.linspace(0, np.pi, 7)[1:-1]


def tube(axis: Points, radii: Sequence[float]) -> Points:
    """Outline of a tube with round ends along `axis` [n, 2], radii spread evenly along it and interpolated smoothly."""
    n = len(axis)
    count = len(radii)
    knots = np.stack([np.arange(count) / (count - 1), np.asarray(radii, dtype=np.float64)], axis=1)
    profile = smooth(knots)
    radius = np.interp(np.arange(n) / (n - 1), profile[:, 0], profile[:, 1])[:, None]
    along = np.empty_like(axis)
    along[1:-1] = axis[2:] - axis[:-2]
    along[0], along[-1] = axis[1] - axis[0], axis[-1] - axis[-2]
    along /= np.maximum(np.sqrt((along * along).sum(1)), 1e-9)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    offset = normal * radius
    # Flattened caps: bone ends are broader than half circles.
    cos, sin = np.cos(_CAP)[:, None], 0.55 * np.sin(_CAP)[:, None]
    cap_end = axis[-1] + radius[-1] * (cos * normal[-1] + sin * along[-1])
    cap_start = axis[0] - radius[0] * (cos * normal[0] + sin * along[0])
    return np.concatenate([axis + offset, cap_end, (axis - offset)[::-1], cap_start])


def ellipse(centre: tuple[float, float], rx: float, ry: float, angle_deg: float = 0.0, n: int = 32) -> Points:
    """Outline of an ellipse with half axes rx, ry (mm), turned clockwise by `angle_deg`."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    outline: Points = turn(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), angle_deg) + np.asarray(centre)
    return outline


def box(
    centre: tuple[float, float], width: float, height: float, angle_deg: float = 0.0, waist: float = 0.08
) -> Points:
    """Outline of a vertebral body: a rectangle with rounded corners and concave sides."""
    w, h = width / 2, height / 2
    corners = [
        (-w, -h), (0, -h * (1 - waist)), (w, -h), (w * (1 - waist), 0),
        (w, h), (0, h * (1 - waist)), (-w, h), (-w * (1 - waist), 0),
    ]  # fmt: skip
    outline: Points = turn(blob(corners), angle_deg) + np.asarray(centre)
    return outline


def turn(points: Points, angle_deg: float, about: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Rotate points clockwise (y down) about a point."""
    a = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    turned: Points = (np.asarray(points) - about) @ rotation + about
    return turned


def step(start: tuple[float, float], angle_deg: float, length: float) -> tuple[float, float]:
    """The point `length` mm from `start` in direction `angle_deg` (0 is up, 90 is right)."""
    a = np.deg2rad(angle_deg)
    return (start[0] + length * float(np.sin(a)), start[1] - length * float(np.cos(a)))


def map_points(sketch: Sketch, function: Callable[[Points], Points]) -> None:
    """Pass every outline and axis of the sketch through `function` (points [n, 2] -> points [n, 2]), all at once."""
    parts = [*sketch.bones, *sketch.soft, *sketch.air]
    pieces = [outline for part in parts for outline in part.outlines] + [axis for axis, _ in sketch.plane]
    ends = np.cumsum([len(piece) for piece in pieces])
    moved = iter(np.split(function(np.concatenate(pieces)), ends[:-1]))
    for part in parts:
        part.outlines = [next(moved) for _ in part.outlines]
    sketch.plane = [(next(moved), radius) for _, radius in sketch.plane]
