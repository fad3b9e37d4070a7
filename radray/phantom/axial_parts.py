"""Parts that several sketches of the trunk share: vertebrae, mandible, rib cage."""

from __future__ import annotations

import numpy as np

from radray.phantom.shapes import Sketch, box, ellipse, step

Random = np.random.Generator


def add_vertebra_ap(
    sketch: Sketch, centre: tuple[float, float], width: float, height: float, wing: float, tilt: float = 0.0
) -> None:
    """One vertebra from the front; its transverse processes reach `wing` mm beyond the body."""
    x, y = centre
    sketch.blob(
        box(centre, width, height, tilt, 0.12),
        rim=min(width, height) * 0.4,
        depth=0.62 * width,
        cortex=1.5,
        hollow=0.62,
    )
    for side in (-1, 1):
        sketch.blob(
            ellipse((x + side * width * 0.32, y - height * 0.16), width * 0.085, height * 0.21, 0, 14),
            rim=3,
            depth=14,
            cortex=1.4,
        )
        if wing > 0:
            root, tip = (x + side * width * 0.4, y - height * 0.12), (x + side * (width / 2 + wing), y - height * 0.22)
            sketch.tube([root, tip], [height * 0.16, height * 0.13, height * 0.15], depth=8, cortex=1.0)
    sketch.blob(ellipse((x, y + height * 0.34), width * 0.075, height * 0.34, 0, 14), rim=3, depth=20, cortex=1.4)


def add_vertebra_lateral(
    sketch: Sketch, centre: tuple[float, float], width: float, height: float, angle: float, spinous: float, droop: float
) -> None:
    """One vertebra from the side, front to the left: body, pedicle, joint processes, spinous process."""
    sketch.blob(
        box(centre, width, height, angle, 0.1),
        rim=min(width, height) * 0.4,
        depth=1.25 * width,
        cortex=1.6,
        hollow=0.55,
    )
    back = 90 + angle * -1.0
    pedicle = step(centre, back, width * 0.5)
    arch = step(step(centre, back, width * 0.82), back - 90, height * -0.1)
    sketch.tube(
        [step(pedicle, back - 90, height * 0.18), arch],
        [height * 0.2, height * 0.16, height * 0.24],
        depth=0.4 * width,
        cortex=1.2,
    )
    sketch.tube(
        [step(arch, back - 90, height * 0.42), step(arch, back + 90, height * 0.5)],
        [height * 0.13, height * 0.2, height * 0.12],
        depth=0.5 * width,
        cortex=1.2,
    )
    tip = step(arch, back + droop, spinous)
    sketch.tube([arch, tip], [height * 0.18, height * 0.2, height * 0.26], depth=0.24 * width, cortex=1.2)


def stack_column(
    start: tuple[float, float], angles: list[float], spacings: list[float]
) -> list[tuple[float, float, float]]:
    """Centres and tilts of vertebrae: each stands `spacing` below the last, in direction 180 + angle degrees."""
    here, out = start, []
    for angle, spacing in zip(angles, spacings, strict=True):
        out.append((here[0], here[1], angle))
        here = step(here, 180 - angle, spacing)
    return out


def add_mandible_side(sketch: Sketch, x: float, y: float) -> None:
    """Mandible with its teeth from the side, its angle at (x, y), chin to the left."""
    sketch.tube(
        [(x - 4, y - 52), (x - 2, y - 20), (x - 10, y), (x - 40, y + 10), (x - 70, y + 18), (x - 80, y + 12)],
        [8, 13, 14, 12, 12, 10],
        depth=18,
        cortex=2.6,
    )
    for k in range(7):
        sketch.tube(
            [(x - 28 - 7.4 * k, y - 5 + 2.2 * k), (x - 30 - 7.4 * k, y - 17 + 2.2 * k)],
            [2.6, 3.4, 3.2],
            depth=16,
            cortex=3,
            hollow=0.1,
        )


def add_rib_cage(
    sketch: Sketch,
    rng: Random,
    *,
    count: int,
    top: float,
    spacing: float,
    half_width: float,
    sides: tuple[int, ...],
    drop: float = 1.0,
) -> None:
    """Ribs from the front: `count` a side, from `top` downwards every `spacing` mm, out to `half_width`."""
    for side in sides:
        for i in range(count):
            y = top + spacing * i
            reach = half_width * min(1.0, 0.52 + 0.12 * i) * (1.0 if i < count - 2 else 0.86)
            d = drop * (0.75 + 0.05 * i) * (1 + float(rng.normal(0, 0.05)))
            points = [
                (side * 18, y),
                (side * 0.48 * reach, y - 5 * d),
                (side * 0.88 * reach, y + 14 * d),
                (side * reach, y + 42 * d),
                (side * 0.86 * reach, y + 72 * d),
            ]
            if i < 8:
                points.append((side * 0.52 * reach, y + 92 * d))
            sketch.tube(points, [5.2, 5.8, 5.8, 6.2, 6.4, 6.2], cortex=1.4, depth=8.5, hollow=0.6)
