"""Sketches of the upper limb: hand, wrist, forearm, elbow, humerus (right side, thumb to the image's right)."""

from __future__ import annotations

import numpy as np

from radray.phantom.shapes import Sketch, View, blob, ellipse, smooth, step, tube

Random = np.random.Generator


def _ray(
    sketch: Sketch,
    start: tuple[float, float],
    angle: float,
    lengths: list[float],
    radii: list[float],
    bends: list[float],
    flesh: float,
) -> tuple[float, float]:
    """Bones of one ray end to end (metacarpal and phalanges), each narrow in its middle, with soft tissue around."""
    here, path = start, [start]
    for length, radius, bend in zip(lengths, radii, bends, strict=True):
        angle += bend
        end = step(here, angle, length)
        inner_start, inner_end = step(here, angle, radius * 0.7), step(here, angle, length - radius * 0.7)
        r = radius
        sketch.tube(
            [inner_start, inner_end], [r * 1.25, r * 0.88, r * 0.76, r * 0.8, r * 1.12], cortex=1.5, hollow=0.75
        )
        here = step(end, angle, 1.6)
        path.append(here)
    sketch.flesh(tube(smooth(path), [flesh * 1.15, flesh, flesh * 0.9, flesh * 0.75]), rim=flesh, depth=1.9 * flesh)
    return here


def _carpus(sketch: Sketch, rng: Random, squeeze: float = 1.0) -> None:
    """Eight carpal bones about (0, -14), seen from the palm; `squeeze` < 1 narrows them towards a lateral view."""
    places = [
        (10, -7, 6.0, 8.0, 35), (0.5, -8, 6.2, 6.5, 0), (-9, -8.5, 5.6, 6.0, -20), (-12, -11, 3.8, 4.4, 0),
        (17, -18, 5.8, 6.2, 10), (9.5, -20, 4.6, 5.4, 0), (1.5, -20, 5.6, 9.0, -4), (-8, -20, 6.0, 7.4, -18),
    ]  # fmt: skip
    for x, y, rx, ry, angle in places:
        grow = rng.uniform(0.94, 1.08)
        centre = (x * squeeze + rng.normal(0, 0.5), y + rng.normal(0, 0.5))
        sketch.blob(
            ellipse(centre, rx * grow * (0.6 + 0.4 * squeeze), ry * grow, angle, 14),
            rim=5,
            depth=13,
            cortex=1.0,
            hollow=0.55,
        )


def _distal_forearm(sketch: Sketch, rng: Random, length: float, squeeze: float = 1.0) -> None:
    """Radius and ulna from the wrist (y = 0) downwards over `length` mm."""
    variance = rng.normal(0, 2)
    radius_axis = [(6.5 * squeeze, 4.5), (7 * squeeze, 25), (10 * squeeze, 60), (9 * squeeze, length)]
    styloid = blob(
        [
            (19 * squeeze, -4),
            (21 * squeeze, 4),
            (18 * squeeze, 20),
            (2 * squeeze, 14),
            (-3 * squeeze, 3),
            (6 * squeeze, 2),
        ]
    )
    sketch.tube(
        radius_axis, [13 * (0.55 + 0.45 * squeeze), 10, 7, 7], cortex=2.2, extra=[styloid], depth=17, shaft=True
    )
    ulna_axis = [(-13 * squeeze, 5 + variance), (-12 * squeeze, 25), (-11 * squeeze, 60), (-12 * squeeze, length)]
    sketch.tube(ulna_axis, [7.6, 6, 6.2, 7], cortex=2.0, shaft=True)
    wide = 31 * (0.6 + 0.4 * squeeze)
    sketch.flesh(
        tube(smooth([(0, -25), (0, 10), (0, 60), (0, length + 5)]), [wide, wide * 0.93, wide * 1.05, wide * 1.3]),
        rim=28,
        depth=42,
    )


def _metacarpals_and_fingers(
    sketch: Sketch, rng: Random, spread: float, flexion: float, squeeze: float, fingers: bool
) -> None:
    bases = [(-11.5, -29), (-4.5, -31), (4, -32), (12.5, -31)]
    angles, metacarpals, total = [-15, -6, 1.5, 9], [47, 52, 58, 61], [0.82, 0.96, 1.05, 0.98]
    for (x, y), angle, metacarpal, grow in zip(bases, angles, metacarpals, total, strict=True):
        lengths, radii = [float(metacarpal)], [5.6]
        bends = [0.0]
        if fingers:
            lengths += [40 * grow, 25 * grow, 17 * grow]
            radii += [5.0, 4.3, 3.8]
            bends += [
                float(rng.normal(0, 3)) + 0.4 * angle * (spread - 1) + flexion,
                float(rng.normal(0, 3)) + flexion,
                float(rng.normal(0, 3)),
            ]
        turned = angle * (0.7 + 0.3 * spread) * squeeze
        _ray(sketch, (x * squeeze, y), turned, lengths, radii, bends, 10.0)
    thumb = rng.uniform(32, 58) * (0.5 + 0.5 * spread)
    bends = [0.0, -float(rng.uniform(0, 18)), -float(rng.uniform(-5, 20))]
    lengths, radii = [43.0, 30.0, 22.0], [6.2, 5.2, 4.4]
    count = 3 if fingers else 1
    _ray(sketch, (20 * squeeze, -22), thumb, lengths[:count], radii[:count], bends[:count], 11.5)
    palm = [(-26, -20), (-33, -60), (-27, -92), (0, -102), (26, -92), (34, -55), (30, -15), (0, 0)]
    sketch.flesh(blob([(x * (0.4 + 0.6 * squeeze), y) for x, y in palm]), rim=24, depth=32)


def hand(rng: Random) -> Sketch:
    """Hand PA or oblique."""
    oblique = rng.random() < 0.35
    squeeze = float(rng.uniform(0.5, 0.72) if oblique else rng.uniform(0.92, 1.06))
    sketch = Sketch(view=View("OBL" if oblique else "PA", (0, -82), (150, 215)))
    _metacarpals_and_fingers(sketch, rng, float(rng.uniform(0.5, 2.0)), float(rng.normal(0, 3)), squeeze, True)
    _carpus(sketch, rng, squeeze)
    _distal_forearm(sketch, rng, 120, squeeze)
    return sketch


def wrist(rng: Random) -> Sketch:
    """Wrist PA or lateral."""
    lateral = rng.random() < 0.4
    squeeze = float(rng.uniform(0.12, 0.3) if lateral else rng.uniform(0.85, 1.06))
    sketch = Sketch(view=View("LAT" if lateral else "PA", (0, -2), (92, 120)))
    _metacarpals_and_fingers(sketch, rng, 1.0, 0.0, squeeze, False)
    _carpus(sketch, rng, squeeze)
    _distal_forearm(sketch, rng, 140, squeeze)
    return sketch


def forearm(rng: Random) -> Sketch:
    """Whole forearm with wrist and elbow, AP or lateral."""
    lateral = rng.random() < 0.4
    squeeze = float(rng.uniform(0.25, 0.5) if lateral else rng.uniform(0.8, 1.0))
    sketch = Sketch(view=View("LAT" if lateral else "AP", (0, 105), (115, 300)))
    _carpus(sketch, rng, squeeze)
    s, bow = squeeze, rng.uniform(6, 14)
    sketch.tube(
        [(7 * s, 4), (8 * s, 25), (12 * s + bow * 0.4, 110), (9 * s, 190), (10 * s, 228)],
        [12.5, 8.5, 7.5, 7, 7, 6.5, 10],
        shaft=True,
    )
    sketch.tube(
        [(-13 * s, 5), (-11 * s, 60), (-12 * s, 130), (-8 * s, 200), (-5 * s, 238)],
        [7, 5.8, 6.5, 7.5, 9, 12],
        shaft=True,
    )
    sketch.tube([(0, 246), (-2, 275), (-2, 340)], [24 * (0.6 + 0.4 * s), 15, 11, 11], cortex=3)
    sketch.flesh(
        tube(smooth([(0, -30), (0, 20), (2, 120), (2, 200), (0, 340)]), [28, 29, 36, 46, 46, 44]), rim=38, depth=62
    )
    return sketch


def elbow(rng: Random) -> Sketch:
    """Elbow AP (stretched) or lateral (flexed about 90 degrees)."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 2), (105, 155)))
        condyles = [
            blob(
                [
                    (-31, -14),
                    (-27, -26),
                    (-12, -32),
                    (12, -32),
                    (25, -25),
                    (28, -13),
                    (22, -2),
                    (10, 1),
                    (0, -4),
                    (-10, 3),
                    (-22, 0),
                ]
            )
        ]
        sketch.tube(
            [(0, -30), (0, -60), (1, -150)], [19, 12.5, 11, 11.5], cortex=3, extra=condyles, depth=23, shaft=True
        )
        fossa = ellipse((-2, -18), 8, 6)
        sketch.gas(fossa, rim=5, depth=8)
        tilt = float(rng.normal(8, 4))
        end_u, end_r = step((-8, 6), 180 - tilt, 150), step((13, 7), 180 - tilt, 150)
        sketch.tube([step((-9, -12), 180, 0), (-9, 10), end_u], [10, 12, 8.5, 7.5, 7], depth=19, shaft=True)
        sketch.tube(
            [(15, 6), step((15, 6), 180 - tilt, 22), (end_r[0] + 6, end_r[1])],
            [11, 7.4, 8.2, 7.5, 7.5],
            depth=15,
            shaft=True,
        )
        sketch.flesh(tube(smooth([(0, -150), (0, -30), (0, 15), end_u]), [43, 44, 43, 42, 36]), rim=38, depth=65)
        return sketch
    flexion = float(rng.uniform(62, 112))
    sketch = Sketch(view=View("LAT", (22, -14), (140, 140)))
    sketch.tube(
        [(0, -12), (0, -50), (2, -160)],
        [14, 11.5, 11.5, 12],
        cortex=3,
        extra=[ellipse((3, -4), 14, 14)],
        depth=28,
        shaft=True,
    )
    direction = 180 - flexion
    across = direction - 90
    ulna_start = step((0, 0), across, -19)
    ulna_mid, ulna_end = step(ulna_start, direction, 50), step(ulna_start, direction, 170)
    olecranon = step(ulna_start, direction, -19)
    sketch.tube(
        [olecranon, step(ulna_start, direction, 10), ulna_mid, ulna_end], [11, 9.5, 8.5, 7, 6], depth=19, shaft=True
    )
    coronoid = step(step((0, 0), direction, 20), across, -9)
    sketch.blob(ellipse(coronoid, 8, 7, direction), rim=6, depth=12)
    head = step(step((0, 0), direction, 24), across, -2)
    sketch.tube(
        [head, step(head, direction, 20), step(head, direction, 150)], [11, 7.2, 8, 7.5, 7], depth=16, shaft=True
    )
    sketch.flesh(
        tube(smooth([(0, -160), (0, -60), (-6, -8), ulna_mid, ulna_end]), [44, 42, 36, 36, 34]), rim=36, depth=62
    )
    return sketch


def humerus(rng: Random) -> Sketch:
    """Whole upper arm with the shoulder and elbow ends."""
    sketch = Sketch(view=View("AP", (0, 130), (135, 340)))
    head = ellipse((-9, 2), 23, 24)
    sketch.tube(
        [(0, 0), (4, 40), (3, 150), (0, 245), (0, 268)],
        [22, 13, 11, 11, 13, 27],
        cortex=4,
        extra=[head],
        depth=30,
        shaft=True,
    )
    sketch.blob(blob([(-34, -18), (-28, -24), (-36, 20), (-60, 60), (-80, 50), (-60, 0)]), rim=5, depth=9, cortex=1.2)
    sketch.tube([(-60, -42), (-15, -38), (5, -28)], [7, 7, 9], depth=12)
    sketch.tube([(-9, 282), (-8, 310), (-10, 400)], [12, 11, 8, 7])
    sketch.tube([(13, 284), (12, 310), (10, 400)], [11, 7.5, 8, 7])
    for i in range(4):
        sketch.tube([(-120, 10 + 26 * i), (-85, 22 + 26 * i), (-66, 50 + 26 * i)], [6, 6, 6], cortex=1.2, depth=8)
    sketch.flesh(
        tube(smooth([(0, -30), (4, 40), (2, 150), (0, 280), (0, 400)]), [56, 55, 50, 46, 44]), rim=46, depth=80
    )
    sketch.flesh(blob([(-40, -60), (-200, -80), (-200, 200), (-62, 190), (-52, 90)]), rim=60, depth=120)
    return sketch
