"""Sketches of the lower limb: foot, ankle, lower leg, knee, femur, hip, pelvis (right side)."""

from __future__ import annotations

import numpy as np

from radray.phantom.shapes import Points, Sketch, View, blob, box, ellipse, smooth, step, tube, turn

Random = np.random.Generator


def _toe_ray(
    sketch: Sketch, base: tuple[float, float], angle: float, lengths: list[float], radii: list[float], rng: Random
) -> None:
    here, path = base, [base]
    for i, (length, radius) in enumerate(zip(lengths, radii, strict=True)):
        angle += float(rng.normal(0, 3)) if i else 0.0
        r = radius
        start, end = step(here, angle, r * 0.7), step(here, angle, max(length - r * 0.7, r * 0.9))
        sketch.tube([start, end], [r * 1.25, r * 0.85, r * 0.72, r * 0.8, r * 1.2], cortex=1.6, hollow=0.75)
        here = step(here, angle, length + 1.6)
        path.append(here)
    sketch.flesh(tube(smooth(path), [13, 12, 10.5, 9.5]), rim=12, depth=22)


def foot(rng: Random) -> Sketch:
    """Foot dorsoplantar, oblique, or lateral."""
    if rng.random() < 0.3:
        return _foot_lateral(rng)
    oblique = rng.random() < 0.4
    s = float(rng.uniform(0.72, 0.88) if oblique else rng.uniform(0.95, 1.05))
    sketch = Sketch(view=View("OBL" if oblique else "AP", (0, -20), (118, 235)))
    metatarsals = [62.0, 72.0, 68.0, 66.0, 64.0]
    bases = [(17, -2), (8, -8), (-2, -5), (-12, 0), (-21, 6)]
    angles = [4.0, 1.5, -3.0, -8.0, -14.0]
    hallux = float(abs(rng.normal(0, 8)))
    for i, (base, angle, metatarsal) in enumerate(zip(bases, angles, metatarsals, strict=True)):
        lengths = [metatarsal, 30.0, 24.0] if i == 0 else [metatarsal, 24.0 - 2 * i, 10.0, 9.0]
        radii = [8.2, 7.0, 6.2] if i == 0 else [5.6, 4.2, 3.6, 3.2]
        _toe_ray(sketch, (base[0] * s, base[1]), (angle - (hallux * 0.3 if i == 0 else 0)) * s, lengths, radii, rng)
    sketch.blob(ellipse((15 * s, 9), 9 * s, 12, 0), rim=6, depth=18)
    sketch.blob(ellipse((5 * s, 5), 6 * s, 9, 0), rim=5, depth=16)
    sketch.blob(ellipse((-3 * s, 8), 6 * s, 10, 0), rim=5, depth=16)
    sketch.blob(blob([(-8, 8), (-24, 16), (-24, 38), (-8, 40)]) * [s, 1], rim=7, depth=20)
    sketch.blob(ellipse((8 * s, 27), 16 * s, 8, -6), rim=6, depth=20)
    sketch.blob(ellipse((8 * s, 52), 18 * s, 20, 0), rim=14, depth=34)
    sketch.blob(
        blob([(-16, 40), (-20, 70), (-14, 112), (8, 118), (18, 108), (14, 70), (2, 46)]) * [s, 1],
        rim=14,
        depth=44,
        cortex=1.8,
    )
    sketch.flesh(
        blob(
            [
                (-36, 0),
                (-40, -50),
                (-28, -82),
                (10, -88),
                (32, -70),
                (32, 0),
                (30, 70),
                (24, 122),
                (0, 132),
                (-24, 122),
                (-30, 60),
            ]
        )
        * [s, 1],
        rim=26,
        depth=48,
    )
    if rng.random() < 0.6:
        sketch.flesh(ellipse((3, 95), 40, 48), rim=45, depth=85)
        sketch.tube([(6, 70), (4, 110), (4, 190)], [21, 17, 15, 15], cortex=3)
    return sketch


def _hindfoot_lateral(sketch: Sketch, rng: Random) -> None:
    """Calcaneus, talus, navicular, cuboid and leg bones seen from the side, toes to the left; ankle joint at (0, 0)."""
    flex = float(rng.normal(0, 8))
    tibia = [(-2.0, -10.0), step((-2, -6), flex, 60), step((-2, -6), flex, 220)]
    sketch.tube(tibia, [20, 15, 12.5, 12.5], cortex=3.5, depth=30, shaft=True)
    fibula = [(7.0, 8.0), step((7, 0), flex, 60), step((10, 0), flex, 220)]
    sketch.tube(fibula, [8, 7, 6, 6], cortex=2, shaft=True)
    talus = [blob([(-20, 2), (-8, -4), (8, -3), (18, 6), (20, 14), (4, 20), (-16, 20), (-32, 20), (-38, 12), (-30, 6)])]
    sketch.blob(talus, rim=11, depth=30, cortex=1.8)
    pitch = float(rng.normal(0, 6))
    calcaneus = turn(
        blob(
            [
                (-34, 30),
                (-22, 22),
                (-2, 24),
                (12, 18),
                (28, 20),
                (46, 26),
                (50, 42),
                (42, 54),
                (22, 48),
                (-10, 42),
                (-34, 44),
            ]
        ),
        pitch,
        (0, 30),
    )
    sketch.blob(calcaneus, rim=13, depth=32, cortex=2.0)
    sketch.blob(ellipse((-43, 18), 6.5, 14, -14), rim=6, depth=26)
    sketch.blob(ellipse((-49, 39), 13, 9, 8), rim=8, depth=24)
    for k in range(3):
        sketch.blob(ellipse((-58 - 2 * k, 22 + 5 * k), 9, 9), rim=7, depth=14)


def _foot_lateral(rng: Random) -> Sketch:
    sketch = Sketch(view=View("LAT", (-58, 22), (235, 135)))
    _hindfoot_lateral(sketch, rng)
    for k in range(5):
        start = (-66.0 + 1.5 * k, 24.0 + 5 * k)
        end = (-128.0 + 4 * k, 54.0 + 2.2 * k)
        sketch.tube([start, end], [7.5, 5, 4.5, 6], cortex=1.6)
        toe = (end[0] - 28 + 2 * k, end[1] + 5)
        sketch.tube([(end[0] - 5, end[1] + 2), toe], [5, 3.8, 4.6], cortex=1.4)
        sketch.tube([(toe[0] - 4, toe[1]), (toe[0] - 18 + k, toe[1] + 4)], [4.4, 3.2, 3.6], cortex=1.2)
    sketch.flesh(
        blob(
            [
                (58, 25),
                (60, 55),
                (30, 66),
                (-60, 66),
                (-140, 72),
                (-185, 70),
                (-182, 52),
                (-120, 34),
                (-60, 4),
                (-28, -20),
                (30, -20),
            ]
        ),
        rim=28,
        depth=60,
    )
    sketch.flesh(tube(smooth([(4, 20), (0, -60), (0, -220)]), [34, 36, 44]), rim=34, depth=64)
    return sketch


def ankle(rng: Random) -> Sketch:
    """Ankle AP (mortise) or lateral."""
    if rng.random() < 0.45:
        sketch = Sketch(view=View("LAT", (-2, 0), (112, 140)))
        _hindfoot_lateral(sketch, rng)
        for k in range(4):
            sketch.tube([(-66.0 + 2 * k, 24.0 + 6 * k), (-128.0, 52.0 + 3 * k)], [7, 5, 6], cortex=1.6)
        sketch.flesh(
            blob([(58, 25), (60, 55), (30, 66), (-60, 66), (-140, 72), (-120, 34), (-60, 4), (-28, -20), (30, -20)]),
            rim=28,
            depth=60,
        )
        sketch.flesh(tube(smooth([(4, 20), (0, -60), (0, -220)]), [34, 36, 44]), rim=34, depth=64)
        return sketch
    sketch = Sketch(view=View("AP", (0, -12), (98, 140)))
    turned = float(rng.normal(0, 3))
    malleolus = blob([(14, -20), (26, -12), (26, 12), (19, 14), (15, 2), (2, -2), (-14, -3), (-18, -20)])
    sketch.tube(
        [(2, -18), (2, -55), (4, -200)], [19, 14, 12.5, 12.5], cortex=3.8, extra=[malleolus], depth=31, shaft=True
    )
    sketch.tube(
        [(-24 + turned, 12), (-22, -10), (-19, -60), (-22, -200)], [7.5, 9, 6.5, 6, 6.5], cortex=2.2, shaft=True
    )
    sketch.blob(
        blob([(-13, 3), (0, 1.5), (13, 4), (18, 12), (19, 26), (8, 34), (-10, 34), (-17, 24)]),
        rim=11,
        depth=34,
        cortex=1.8,
    )
    sketch.blob(
        blob([(-16, 36), (10, 36), (20, 46), (16, 78), (0, 86), (-18, 80), (-24, 56)]), rim=13, depth=40, cortex=1.8
    )
    sketch.blob(ellipse((4, 52), 24, 12, 6), rim=10, depth=26)
    sketch.flesh(tube(smooth([(0, 84), (0, 20), (0, -50), (0, -200)]), [36, 38, 35, 40, 50]), rim=32, depth=66)
    sketch.flesh(ellipse((2, 66), 42, 36), rim=34, depth=78)
    return sketch


def lower_leg(rng: Random) -> Sketch:
    """Whole lower leg, AP or lateral."""
    lateral = rng.random() < 0.4
    s = 0.5 if lateral else 1.0
    sketch = Sketch(view=View("LAT" if lateral else "AP", (0, 185), (140, 430)))
    plateau = blob([(-36, 8), (-20, 2), (0, 5), (20, 2), (36, 8), (24, 32), (-24, 32)]) * [0.5 + 0.5 * s, 1]
    sketch.tube(
        [(0, 16), (2, 60), (4, 200), (2, 330), (2, 362)],
        [30 * (0.5 + 0.5 * s), 16, 13.5, 12.5, 12, 20],
        cortex=4.5,
        extra=[plateau],
        shaft=True,
    )
    x = 33.0 * s if not lateral else 18.0
    sketch.tube(
        [(-x, 24), (-x + 4, 60), (-x + 2, 200), (-x + 9, 330), (-x + 8, 384)],
        [8.5, 5.5, 6.5, 6, 6, 8],
        cortex=2.2,
        shaft=True,
    )
    sketch.blob(
        blob([(-38, -6), (-30, -36), (-16, -55), (16, -55), (30, -36), (38, -6), (20, 1), (0, -10), (-20, 1)])
        * [0.6 + 0.4 * s, 1],
        rim=22,
        depth=60,
    )
    sketch.blob(ellipse((2, 382), 18, 14), rim=11, depth=34)
    sketch.blob(ellipse((8 if lateral else 4, 412), 32 if lateral else 20, 20), rim=13, depth=38)
    sketch.flesh(
        tube(smooth([(0, -60), (-2, 60), (-4, 140), (0, 300), (0, 430)]), [60, 58, 62, 54, 38, 38]), rim=50, depth=100
    )
    return sketch


def knee(rng: Random) -> Sketch:
    """Knee AP or lateral (flexed)."""
    if rng.random() < 0.55:
        sketch = Sketch(view=View("AP", (0, 2), (125, 175)))
        condyles = [
            blob(
                [
                    (-40, -20),
                    (-36, -38),
                    (-22, -56),
                    (22, -56),
                    (36, -38),
                    (41, -20),
                    (36, -5),
                    (20, -1),
                    (8, -9),
                    (0, -17),
                    (-8, -9),
                    (-20, -1),
                    (-36, -5),
                ]
            )
        ]
        sketch.tube(
            [(0, -52), (-1, -85), (-3, -190)], [24, 17, 15.5, 15.5], cortex=4, extra=condyles, depth=46, shaft=True
        )
        plateau = [
            blob(
                [
                    (-39, 9),
                    (-30, 4),
                    (-8, 6),
                    (-3, -1),
                    (0, 3),
                    (3, -1),
                    (8, 6),
                    (30, 4),
                    (39, 9),
                    (36, 24),
                    (22, 48),
                    (-22, 48),
                    (-36, 26),
                ]
            )
        ]
        sketch.tube([(0, 40), (1, 75), (3, 190)], [24, 15, 13.5, 13], cortex=4, extra=plateau, depth=42, shaft=True)
        sketch.tube([(-33, 30), (-31, 55), (-28, 190)], [9.5, 6, 6.5, 6.5], cortex=2, shaft=True)
        sketch.blob(
            ellipse((float(rng.normal(0, 4)), -38 + float(rng.normal(0, 5))), 21, 22), rim=13, depth=17, cortex=1.4
        )
        sketch.flesh(
            tube(smooth([(0, -190), (0, -60), (0, 0), (0, 60), (0, 190)]), [74, 64, 58, 55, 56, 50]), rim=54, depth=112
        )
        return sketch
    flexion = float(rng.uniform(8, 75))
    sketch = Sketch(view=View("LAT", (-6, 2), (140, 175)))
    sketch.tube(
        [(2, -40), (0, -75), (-4, -200)],
        [19, 15.5, 15, 15],
        cortex=4,
        extra=[ellipse((5, -16), 29, 22, 25), ellipse((-6, -20), 24, 20, -20)],
        depth=52,
        shaft=True,
    )
    direction = 180 - flexion
    centre = (4.0, -14.0)

    def below(along: float, front: float) -> tuple[float, float]:
        return step(step(centre, direction, along), direction + 90, front)

    plateau = [
        blob(
            [below(25, 27), below(23, 0), below(24, -25), below(34, -28), below(62, -14), below(70, 18), below(58, 26)]
        )
    ]
    sketch.tube(
        [below(50, 3), below(90, 2), below(220, 3)], [22, 14.5, 13.5, 13], cortex=4, extra=plateau, depth=40, shaft=True
    )
    sketch.tube([below(46, -20), below(75, -17), below(220, -12)], [8.5, 6, 6.5, 6.5], cortex=2, shaft=True)
    lift = 0.5 * flexion
    patella = step(centre, -90 - 0.65 * lift + 28, 47)
    sketch.blob(ellipse(patella, 10, 21, 8 - 0.75 * lift), rim=10, depth=34, cortex=1.8)
    sketch.flesh(
        tube(smooth([(0, -200), (0, -80), (-8, -6), below(60, -4), below(220, -8)]), [76, 66, 55, 52, 52]),
        rim=52,
        depth=108,
    )
    return sketch


def femur(rng: Random) -> Sketch:
    """Femoral shaft with the knee or the hip end, AP or lateral."""
    sketch = Sketch(view=View("AP", (0, 165), (170, 420)))
    bow = float(rng.normal(0, 10))
    _proximal_femur(
        sketch, rng, [(26.0 + bow * 0.5, 150.0), (16.0 + bow, 280.0), (8.0, 365.0)], [17, 15, 15.5, 24], abduction=0.0
    )
    condyles = blob(
        [
            (-34, 392),
            (-30, 372),
            (-10, 350),
            (26, 350),
            (44, 372),
            (48, 392),
            (40, 408),
            (22, 410),
            (7, 396),
            (-8, 410),
            (-26, 408),
        ]
    )
    sketch.blob(condyles, rim=22, depth=48, cortex=2)
    sketch.blob(
        blob([(-34, 420), (7, 412), (48, 420), (34, 450), (18, 500), (-4, 500), (-20, 450)]), rim=20, depth=44, cortex=2
    )
    _hip_bone(sketch, rng)
    sketch.flesh(
        tube(smooth([(0, -60), (14, 60), (16, 200), (8, 380), (8, 500)]), [110, 98, 84, 66, 60]), rim=80, depth=155
    )
    return sketch


def _proximal_femur(
    sketch: Sketch, rng: Random, shaft: list[tuple[float, float]], radii: list[float], abduction: float
) -> None:
    """Head at (0, 0), neck, trochanters and shaft of a femur whose lateral side is +x."""
    neck_out = (36.0 + float(rng.normal(0, 2)), 28.0 + float(rng.normal(0, 3)))
    greater = blob([(34, 2), (46, -8), (58, 2), (60, 26), (52, 60), (22, 62), (20, 40)])
    lesser = ellipse((20, 62), 8, 11, 20)
    neck = tube(smooth([(4, 4), neck_out]), [19, 15, 19])
    sketch.tube(
        [(40, 48), (36, 80), *shaft],
        [22, 18, *radii],
        cortex=5,
        extra=[ellipse((0, 0), 24, 24), neck, greater, lesser],
        depth=40,
        shaft=True,
    )


def _hip_bone(sketch: Sketch, rng: Random) -> None:
    """Ilium, acetabulum, pubis and ischium of the same side; the symphysis lies at about x = -88."""
    ilium = blob(
        [
            (-4, -32),
            (26, -34),
            (40, -58),
            (52, -110),
            (30, -146),
            (-14, -150),
            (-54, -118),
            (-66, -76),
            (-50, -58),
            (-30, -50),
            (-24, -30),
        ]
    )
    sketch.blob(ilium, rim=8, depth=16, cortex=2.2, hollow=0.55)
    sketch.tube(
        [(30, -22), (14, -32), (-12, -30), (-28, -14), (-30, 10), (-20, 26)], [5, 6, 7, 8, 7, 6], depth=22, cortex=2
    )
    sketch.tube([(-24, 4), (-50, 6), (-74, 14), (-84, 26)], [11, 8, 8, 11], depth=16, cortex=1.8)
    sketch.tube(
        [(-26, 12), (-28, 45), (-34, 68), (-50, 72), (-66, 58), (-80, 36)],
        [12, 13, 14, 9, 7.5, 9],
        depth=18,
        cortex=1.8,
    )


def hip(rng: Random) -> Sketch:
    """One hip, AP or axial (Lauenstein)."""
    axial = rng.random() < 0.3
    sketch = Sketch(view=View("AX" if axial else "AP", (6, 6), (165, 190)))
    out = 55.0 if axial else float(rng.normal(0, 8))
    shaft = [step((38, 60), 180 - out * 0.9, 70), step((38, 60), 180 - out, 240)]
    _proximal_femur(sketch, rng, shaft, [16, 15.5], abduction=out)
    _hip_bone(sketch, rng)
    sketch.blob(blob([(-70, -90), (-100, -100), (-130, -80), (-130, -20), (-110, 0), (-92, -30)]), rim=14, depth=28)
    sketch.flesh(tube(smooth([(0, -200), (5, -40), (30, 80), shaft[-1]]), [110, 112, 100, 82]), rim=85, depth=175)
    sketch.flesh(blob([(0, -220), (-260, -220), (-260, 80), (-60, 110), (-30, 200)]), rim=90, depth=190)
    return sketch


def pelvis(rng: Random) -> Sketch:
    """Pelvis AP with both hips."""
    sketch = Sketch(view=View("AP", (0, -36), (330, 270)))
    one = Sketch(view=sketch.view)
    _proximal_femur(one, rng, [(32, 150), (26, 280)], [16, 15.5], abduction=0.0)
    _hip_bone(one, rng)
    shift = np.array([91.0, 0.0])
    for mirror in (np.array([1.0, 1.0]), np.array([-1.0, 1.0])):
        for part in one.bones:
            outlines: list[Points] = [(outline + shift) * mirror for outline in part.outlines]
            sketch.blob(outlines, rim=part.rim, depth=part.depth, cortex=part.cortex, hollow=part.hollow)
        axis, radius = one.plane[0]
        sketch.plane.append(((axis + shift) * mirror, radius))
    sketch.blob(
        blob([(-42, -112), (0, -120), (42, -112), (30, -60), (10, -22), (0, -12), (-10, -22), (-30, -60)]),
        rim=16,
        depth=30,
        cortex=1.8,
    )
    for i in range(3):
        sketch.blob(box((0, -134 - 36 * i), 50, 29), rim=14, depth=34)
        for side in (-1, 1):
            sketch.tube([(side * 22, -134 - 36 * i), (side * 48, -138 - 36 * i)], [5, 4, 4], depth=8)
    gas = [
        ellipse(
            (float(rng.uniform(-70, 70)), float(rng.uniform(-120, -30))),
            float(rng.uniform(8, 22)),
            float(rng.uniform(6, 14)),
        )
        for _ in range(5)
    ]
    sketch.gas(gas, rim=9, depth=22)
    sketch.flesh(
        blob(
            [
                (-170, -260),
                (170, -260),
                (185, -80),
                (190, 40),
                (170, 260),
                (20, 260),
                (0, 90),
                (-20, 260),
                (-170, 260),
                (-190, 40),
                (-185, -80),
            ]
        ),
        rim=95,
        depth=200,
    )
    return sketch
