"""Sketches of the trunk: skull, the spines, ribs, chest, abdomen."""

from __future__ import annotations

import numpy as np

from radray.phantom.shapes import Sketch, View, blob, box, ellipse, smooth, step, tube, turn

Random = np.random.Generator


def _vertebra_ap(
    sketch: Sketch, centre: tuple[float, float], width: float, height: float, wing: float, tilt: float = 0.0
) -> None:
    """One vertebra from the front: body, pedicles, transverse processes (`wing` mm beyond the body), spinous process."""
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


def _vertebra_lateral(
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


def _column(start: tuple[float, float], angles: list[float], spacings: list[float]) -> list[tuple[float, float, float]]:
    """Centres and tilts of vertebrae: each stands `spacing` below the last, in direction 180 + angle degrees."""
    here, out = start, []
    for angle, spacing in zip(angles, spacings, strict=True):
        out.append((here[0], here[1], angle))
        here = step(here, 180 - angle, spacing)
    return out


def _mandible_side(sketch: Sketch, x: float, y: float) -> None:
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


def cervical_spine(rng: Random) -> Sketch:
    """Cervical spine AP or lateral."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 8), (125, 165)))
        tilt = float(rng.normal(0, 2.5))
        for i in range(8):
            y = -54 + 17.5 * i
            _vertebra_ap(sketch, (tilt * 0.06 * y, y), 27 + 0.7 * i, 12.5 + 0.3 * i, 7 + (6 if i > 5 else 0), tilt)
            for side in (-1, 1):
                sketch.blob(ellipse((side * (17 + 0.4 * i), y + 2), 5.5, 8, 0, 14), rim=4, depth=13, cortex=1.2)
        jaw = [(-58, -104), (-50, -72), (-24, -58), (0, -55), (24, -58), (50, -72), (58, -104)]
        sketch.tube(jaw, [8, 12, 12, 13, 12, 12, 8], depth=24, cortex=2.6)
        sketch.blob(ellipse((0, -112), 62, 44), rim=28, depth=40, cortex=3)
        for k in range(6):
            for side in (-1, 1):
                sketch.tube(
                    [(side * (4 + 7 * k), -66 - k), (side * (4 + 7 * k), -80 - k)], [2.8, 3.2], depth=14, hollow=0.1
                )
        for side in (-1, 1):
            for k in range(3):
                y = 72 + 22 * k
                sketch.tube(
                    [
                        (side * 22, y),
                        (side * 50, y - 8),
                        (side * (68 + 12 * k), y + 16),
                        (side * (60 + 12 * k), y + 50),
                    ],
                    [5, 5, 5, 5],
                    depth=8,
                    cortex=1.2,
                )
            sketch.tube([(side * 14, 98), (side * 50, 84), (side * 100, 66)], [10, 6.5, 6.5], depth=12)
            sketch.gas(
                blob([(side * 20, 150), (side * 26, 96), (side * 48, 72), (side * 72, 92), (side * 84, 160)]),
                rim=22,
                depth=60,
            )
        sketch.gas(tube(smooth([(0, -40), (1, 20), (2, 140)]), [5, 8.5, 9]), rim=8, depth=19)
        sketch.flesh(
            blob(
                [
                    (-58, -150),
                    (58, -150),
                    (62, -80),
                    (52, -30),
                    (54, 20),
                    (80, 50),
                    (160, 72),
                    (160, 200),
                    (-160, 200),
                    (-160, 72),
                    (-80, 50),
                    (-54, 20),
                    (-52, -30),
                    (-62, -80),
                ]
            ),
            rim=52,
            depth=112,
        )
        return sketch
    sketch = Sketch(view=View("LAT", (4, -4), (135, 172)))
    flex = float(rng.normal(0, 9))
    lordosis = [flex - 2 + (10 - 3.2 * i) * 1.0 for i in range(9)]
    for i, (x, y, angle) in enumerate(_column((2, -52), lordosis, [17.0 + 0.4 * i for i in range(9)])):
        spinous = [22, 20, 17, 18, 21, 27, 32, 34, 36][i]
        _vertebra_lateral(sketch, (x, y), 16.5 + 0.5 * i, 13.2 + 0.3 * i, angle, spinous, 14 + 2 * i)
    sketch.tube([(-4, -66), (0, -72), (2, -58)], [5, 6, 5], depth=16)
    sketch.tube([(4, -74), (32, -70)], [6, 5, 7], depth=12)
    sketch.blob(
        blob([(-70, -96), (-10, -92), (14, -86), (60, -92), (88, -120), (80, -190), (-80, -190)]),
        rim=7,
        depth=44,
        cortex=5,
        hollow=0.6,
    )
    _mandible_side(sketch, -18, -54)
    trachea = [(-22.0, -60.0), (-20.0, -20.0), (-24.0, 20.0), (-14.0, 60.0), (0.0, 130.0)]
    sketch.gas(tube(smooth(trachea), [8, 5, 8, 8.5, 9]), rim=7, depth=20)
    sketch.flesh(
        blob(
            [
                (-92, -170),
                (-100, -60),
                (-70, -26),
                (-40, -10),
                (-38, 40),
                (-60, 90),
                (-110, 180),
                (110, 180),
                (90, 80),
                (58, 30),
                (56, -30),
                (80, -80),
                (100, -170),
            ]
        ),
        rim=40,
        depth=105,
    )
    sketch.flesh(blob([(-160, 85), (-60, 62), (40, 60), (120, 70), (160, 190), (-160, 190)]), rim=70, depth=230)
    return sketch


def _rib_cage_ap(
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


def thoracic_spine(rng: Random) -> Sketch:
    """Thoracic spine AP or lateral."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 150), (125, 330)))
        scoliosis = float(rng.normal(0, 7))
        for i in range(14):
            y = 25.5 * i - 16
            _vertebra_ap(sketch, (scoliosis * float(np.sin(i / 4)), y), 27 + 1.1 * i, 18.5 + 0.5 * i, 13 - 0.35 * i, 0)
        _rib_cage_ap(sketch, rng, count=12, top=0, spacing=25.5, half_width=132, sides=(-1, 1))
        for side in (-1, 1):
            sketch.tube([(side * 16, 8), (side * 70, -20), (side * 140, -30)], [11, 7, 7], depth=13)
            sketch.gas(
                blob(
                    [
                        (side * 22, 20),
                        (side * 55, -8),
                        (side * 105, 60),
                        (side * 128, 230),
                        (side * 70, 222),
                        (side * (50 if side > 0 else 38), 180),
                        (side * 24, 90),
                    ]
                ),
                rim=38,
                depth=135,
            )
        sketch.flesh(blob([(-200, -70), (200, -70), (190, 380), (-190, 380)]), rim=110, depth=215)
        sketch.gas(tube(smooth([(0, -80), (0, 50)]), [9, 9]), rim=8, depth=17)
        return sketch
    sketch = Sketch(view=View("LAT", (16, 150), (150, 330)))
    kyphosis = float(rng.uniform(0.8, 1.5))
    angles = [(-16 + 2.6 * i) * kyphosis for i in range(14)]
    for i, (x, y, angle) in enumerate(_column((-14, -10), angles, [23.0 + 0.5 * i for i in range(14)])):
        _vertebra_lateral(sketch, (x, y), 20 + 1.1 * i, 18 + 0.6 * i, angle, 26, 38)
        if i < 11:
            for dx in (0.0, 7.0):
                start = (x + 16 + dx, y)
                sketch.tube(
                    [start, (x + 34 + dx, y + 18), (x + 10, y + 58), (x - 50, y + 88), (x - 120, y + 96)],
                    [5, 5.5, 6, 6, 6],
                    depth=7,
                    cortex=1.4,
                    hollow=0.6,
                )
    sketch.gas(
        blob([(-30, 0), (10, 10), (60, 80), (74, 190), (50, 262), (-30, 230), (-130, 200), (-130, 80)]),
        rim=45,
        depth=190,
    )
    sketch.flesh(
        blob([(-160, -60), (0, -70), (75, 0), (105, 130), (85, 260), (80, 400), (-170, 400)]), rim=85, depth=290
    )
    return sketch


def lumbar_spine(rng: Random) -> Sketch:
    """Lumbar spine AP or lateral."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 84), (165, 255)))
        scoliosis = float(rng.normal(0, 6))
        for i in range(8):
            y = 35.5 * (i - 2) + 4
            _vertebra_ap(
                sketch, (scoliosis * float(np.sin(i / 2.4)), y), 41 + 1.5 * i, 27 + 0.4 * i, 22 if i > 2 else 6
            )
        for side in (-1, 1):
            for k in range(3):
                y = -80 + 35 * k
                sketch.tube(
                    [(side * 20, y), (side * 70, y + 12), (side * (112 - 14 * k), y + 60)],
                    [5, 6, 5.5],
                    depth=8.5,
                    cortex=1.3,
                )
            wing = blob(
                [
                    (side * 34, 190),
                    (side * 60, 176),
                    (side * 112, 160),
                    (side * 138, 190),
                    (side * 130, 240),
                    (side * 80, 290),
                    (side * 52, 250),
                ]
            )
            sketch.blob(wing, rim=8, depth=17, cortex=2.4, hollow=0.5)
            sketch.flesh(
                blob([(side * 20, 20), (side * 45, 90), (side * 66, 190), (side * 30, 200)]), rim=30, depth=215
            )
        sketch.blob(
            blob([(-48, 196), (0, 190), (48, 196), (34, 250), (12, 300), (-12, 300), (-34, 250)]),
            rim=15,
            depth=30,
            cortex=1.8,
        )
        gas = [
            ellipse(
                (float(rng.uniform(-85, 85)), float(rng.uniform(20, 200))),
                float(rng.uniform(8, 24)),
                float(rng.uniform(7, 16)),
                float(rng.uniform(0, 90)),
            )
            for _ in range(6)
        ]
        sketch.gas(gas, rim=9, depth=26)
        sketch.flesh(
            blob([(-150, -130), (150, -130), (140, 60), (165, 300), (-165, 300), (-140, 60)]), rim=110, depth=205
        )
        return sketch
    sketch = Sketch(view=View("LAT", (12, 84), (150, 255)))
    lordosis = float(rng.uniform(0.6, 1.4))
    angles = [(12 - 7 * (i - 2)) * lordosis for i in range(8)]
    column = _column((-8, -66), angles, [36.0 + 0.4 * i for i in range(8)])
    for i, (x, y, angle) in enumerate(column[:7]):
        _vertebra_lateral(sketch, (x, y), 34 + 0.9 * i, 28 - 0.1 * i, angle, 30, 8)
    x, y, angle = column[7]
    sacrum = [(-20, -15), (18, -18), (34, 10), (48, 50), (52, 88), (42, 92), (26, 54), (4, 22)]
    sketch.blob(turn(blob(sacrum), -8 + 0.3 * angle) + np.array([x, y]), rim=13, depth=52, cortex=2)
    sketch.blob(
        blob([(x - 46, y + 34), (x - 20, y - 42), (x + 32, y - 55), (x + 62, y - 10), (x + 40, y + 50), (x, y + 80)]),
        rim=9,
        depth=20,
        cortex=2.4,
        hollow=0.5,
    )
    for k in range(3):
        sketch.tube([(20, -95 + 32 * k), (26, -60 + 32 * k), (-50, -20 + 30 * k)], [5, 5.5, 6], depth=8, cortex=1.3)
    sketch.flesh(
        blob([(-150, -140), (60, -140), (84, 20), (92, 130), (115, 220), (110, 320), (-150, 320)]), rim=85, depth=285
    )
    sketch.gas(
        [ellipse((float(rng.uniform(-110, -50)), float(rng.uniform(0, 180))), 18, 12) for _ in range(4)],
        rim=10,
        depth=26,
    )
    return sketch


def skull(rng: Random) -> Sketch:
    """Skull AP or lateral."""
    if rng.random() < 0.45:
        sketch = Sketch(view=View("AP", (0, 4), (190, 235)))
        nod = float(rng.normal(0, 7))
        sketch.blob(
            blob(
                [
                    (-74, -20),
                    (-66, -72),
                    (0, -106),
                    (66, -72),
                    (74, -20),
                    (64, 34),
                    (40, 62),
                    (0, 68),
                    (-40, 62),
                    (-64, 34),
                ]
            ),
            rim=9,
            depth=34,
            cortex=6.5,
            hollow=0.86,
        )
        for side in (-1, 1):
            orbit = ellipse((side * 31, 6 + nod), 20, 17, side * 8)
            sketch.gas(orbit, rim=6, depth=36)
            sketch.tube(np.vstack([orbit[14:], orbit[:6]]), [3, 3.4, 3], depth=13, cortex=3, hollow=0.1)
            sketch.tube(
                [(side * 26, 24 + nod), (side * 40, 10 + nod), (side * 60, 4 + nod)], [2, 3, 3], depth=14, hollow=0
            )
            sketch.gas(ellipse((side * 29, 40 + nod), 13, 14, side * 12), rim=6, depth=28)
            sketch.tube(
                [(side * 62, 30), (side * 52, 58), (side * 46, 84), (side * 22, 108)],
                [9, 10, 11, 11],
                depth=18,
                cortex=3,
            )
            for k in range(5):
                sketch.tube([(side * (4 + 7.2 * k), 66), (side * (4 + 7 * k), 79)], [2.8, 3.4], depth=16, hollow=0)
                sketch.tube([(side * (4 + 7.0 * k), 82), (side * (4 + 6.6 * k), 95)], [3.2, 2.6], depth=16, hollow=0)
        sketch.gas(
            blob([(0, 16 + nod), (10, 38 + nod), (8, 50 + nod), (-8, 50 + nod), (-10, 38 + nod)]), rim=5, depth=32
        )
        sketch.gas(ellipse((0, -26 + nod), 18, 9), rim=5, depth=16)
        sketch.tube([(-26, 110), (0, 114), (26, 110)], [11, 13, 11], depth=20, cortex=3)
        for i in range(4):
            _vertebra_ap(sketch, (0, 92 + 18 * i), 28, 13, 6)
        sketch.flesh(
            blob(
                [
                    (-82, -20),
                    (-70, -84),
                    (0, -114),
                    (70, -84),
                    (82, -20),
                    (76, 60),
                    (56, 112),
                    (54, 220),
                    (-54, 220),
                    (-56, 112),
                    (-76, 60),
                ]
            ),
            rim=55,
            depth=150,
        )
        return sketch
    sketch = Sketch(view=View("LAT", (0, 0), (240, 210)))
    sketch.blob(
        blob(
            [
                (-88, -16),
                (-80, -62),
                (-30, -96),
                (30, -96),
                (82, -56),
                (96, -6),
                (78, 34),
                (40, 50),
                (0, 46),
                (-30, 34),
                (-60, 22),
                (-80, 6),
            ]
        ),
        rim=9,
        depth=34,
        cortex=6,
        hollow=0.86,
    )
    sketch.tube(
        [(-78, 6), (-48, 10), (-22, 16), (-8, 12), (10, 34), (50, 44)],
        [3, 3, 4, 4, 8, 6],
        depth=26,
        cortex=3,
        hollow=0.2,
    )
    sketch.blob(blob([(12, 26), (34, 22), (46, 40), (26, 50), (10, 44)]), rim=9, depth=40, cortex=2, hollow=0.3)
    sketch.gas(ellipse((-76, -2), 7, 11, 20), rim=5, depth=18)
    sketch.gas(ellipse((-52, 38), 18, 14), rim=7, depth=34)
    sketch.gas(ellipse((-24, 26), 9, 7), rim=5, depth=24)
    sketch.tube([(-82, 12), (-86, 28), (-78, 54), (-60, 60), (-36, 58)], [5, 6, 10, 9, 9], depth=24, cortex=2)
    sketch.tube([(-60, 22), (-54, 40), (-44, 30)], [3, 3, 3], depth=14)
    _mandible_side(sketch, 8, 84)
    for k in range(7):
        sketch.tube([(-24 - 7.2 * k, 62 + 1.6 * k), (-25 - 7.4 * k, 72 + 1.8 * k)], [2.6, 3.2], depth=16, hollow=0.1)
    for i, (x, y, angle) in enumerate(_column((22, 64), [8, 6, 4, 2, 0, -2], [18.0] * 6)):
        _vertebra_lateral(sketch, (x, y), 17, 13.5, angle, 22 - i, 14)
    sketch.gas(tube(smooth([(-4, 50), (2, 80), (0, 150)]), [8, 6, 8]), rim=6, depth=20)
    sketch.flesh(
        blob(
            [
                (-98, -20),
                (-88, -70),
                (-30, -106),
                (36, -106),
                (94, -62),
                (108, 0),
                (92, 50),
                (76, 90),
                (80, 200),
                (-20, 200),
                (-30, 130),
                (-86, 118),
                (-92, 70),
                (-112, 40),
            ]
        ),
        rim=45,
        depth=140,
    )
    return sketch


def _thorax(rng: Random, sides: tuple[int, ...], penetration: float) -> Sketch:
    """Rib cage from the front with lungs, heart, spine and clavicles."""
    sketch = Sketch(view=View("AP", (0, 150), (330, 340)))
    wide = float(rng.uniform(138, 152))
    _rib_cage_ap(
        sketch, rng, count=12, top=0, spacing=25.5, half_width=wide, sides=sides, drop=float(rng.uniform(0.8, 1.15))
    )
    for i in range(14):
        _vertebra_ap(sketch, (0, 25.5 * i - 16), 28 + i, 19 + 0.5 * i, 10)
    for side in (-1, 1):
        rise = float(rng.normal(0, 8))
        sketch.tube(
            [(side * 16, 10), (side * 60, -14 - rise), (side * 110, -16 - rise), (side * 152, -24 - rise)],
            [11, 7, 6, 8],
            depth=12,
        )
        sketch.blob(
            blob(
                [
                    (side * 150, -20),
                    (side * 165, 10),
                    (side * 140, 60),
                    (side * 110, 140),
                    (side * 96, 40),
                    (side * 108, -14),
                ]
            ),
            rim=4,
            depth=6,
            cortex=1.6,
        )
        sketch.blob(ellipse((side * 178, 6), 22, 23), rim=15, depth=34, cortex=2)
    base = float(rng.uniform(225, 260))
    sketch.gas(
        blob(
            [(-20, 30), (-48, -10), (-95, 40), (-wide + 12, 150), (-wide + 8, base), (-70, base - 32), (-26, base - 10)]
        ),
        rim=40,
        depth=148,
    )
    heart = float(rng.uniform(0.8, 1.3))
    sketch.gas(
        blob(
            [
                (24, 30),
                (48, -10),
                (95, 40),
                (wide - 12, 150),
                (wide - 8, base),
                (50 + 38 * heart, base - 18),
                (34 + 36 * heart, 185),
                (40, 120),
            ]
        ),
        rim=40,
        depth=148,
    )
    sketch.gas(tube(smooth([(0, -80), (1, 60)]), [9, 9]), rim=8, depth=17)
    sketch.flesh(
        blob(
            [
                (-60, -110),
                (60, -110),
                (75, -52),
                (200, -40),
                (215, 60),
                (165, 140),
                (158, 420),
                (-158, 420),
                (-165, 140),
                (-215, 60),
                (-200, -40),
                (-75, -52),
            ]
        ),
        rim=100,
        depth=205 * penetration,
    )
    return sketch


def ribs(rng: Random) -> Sketch:
    """One half of the rib cage, AP or oblique, exposed for bone."""
    lower = rng.random() < 0.35
    oblique = rng.random() < 0.4
    sketch = _thorax(rng, (-1, 1), 0.9)
    squeeze = float(rng.uniform(0.75, 0.9)) if oblique else 1.0
    for part in (*sketch.bones, *sketch.soft, *sketch.air):
        part.outlines = [outline * [squeeze, 1.0] for outline in part.outlines]
    for part in sketch.bones[:24]:
        part.depth *= 1.5
    centre = (-80 * squeeze, 215.0) if lower else (-82 * squeeze, 120.0)
    return Sketch(
        view=View("OBL" if oblique else "AP", centre, (165 * squeeze, 215 if lower else 265)),
        bones=sketch.bones, soft=sketch.soft, air=sketch.air,
    )  # fmt: skip


def chest(rng: Random) -> Sketch:
    """Chest PA or lateral."""
    if rng.random() < 0.7:
        sketch = _thorax(rng, (-1, 1), 1.0)
        for part in sketch.bones:
            part.depth *= 0.7
        return Sketch(view=View("PA", (0, 130), (370, 350)), bones=sketch.bones, soft=sketch.soft, air=sketch.air)
    sketch = Sketch(view=View("LAT", (-20, 140), (290, 350)))
    for i, (x, y, angle) in enumerate(_column((50, -10), [-14 + 2.4 * i for i in range(14)], [24.0] * 14)):
        _vertebra_lateral(sketch, (x, y), 22 + i, 19 + 0.5 * i, angle, 26, 38)
        if i < 11:
            sketch.tube(
                [(x + 20, y), (x + 36, y + 20), (x, y + 55), (x - 80, y + 80), (x - 150, y + 70)],
                [5, 5.5, 6, 6, 6],
                depth=6,
                cortex=1.4,
                hollow=0.6,
            )
    sketch.tube([(-92, 20), (-112, 80), (-118, 170)], [7, 6, 6], depth=22)
    sketch.gas(
        blob([(-20, -10), (40, 0), (112, 80), (128, 200), (90, 270), (0, 225), (-108, 215), (-108, 90), (-70, 20)]),
        rim=50,
        depth=175,
    )
    sketch.flesh(ellipse((-55, 180), 55, 48), rim=45, depth=300)
    sketch.flesh(
        blob([(-80, -90), (70, -90), (130, 20), (155, 180), (140, 420), (-140, 420), (-150, 150), (-120, 10)]),
        rim=85,
        depth=270,
    )
    return sketch


def abdomen(rng: Random) -> Sketch:
    """Abdomen AP with bowel gas."""
    sketch = Sketch(view=View("AP", (0, 130), (330, 410)))
    for i in range(9):
        _vertebra_ap(sketch, (0, -70 + 35.5 * i), 40 + i, 27, 18 if i > 3 else 6)
    _rib_cage_ap(sketch, rng, count=4, top=-130, spacing=30, half_width=160, sides=(-1, 1))
    for side in (-1, 1):
        sketch.blob(
            blob(
                [
                    (side * 34, 225),
                    (side * 70, 205),
                    (side * 130, 195),
                    (side * 146, 240),
                    (side * 120, 310),
                    (side * 80, 340),
                    (side * 55, 290),
                ]
            ),
            rim=8,
            depth=17,
            cortex=2.4,
            hollow=0.5,
        )
        sketch.flesh(blob([(side * 20, 30), (side * 48, 110), (side * 80, 240), (side * 30, 240)]), rim=30, depth=225)
        sketch.flesh(ellipse((side * 58, 40), 28, 52, side * 12), rim=30, depth=228)
    sketch.blob(blob([(-50, 236), (0, 230), (50, 236), (30, 300), (0, 340), (-30, 300)]), rim=15, depth=28)
    colon = [(-112, 220), (-118, 120), (-112, 20), (-60, 10), (0, 40), (60, 5), (112, -20), (122, 80), (118, 200)]
    for _ in range(int(rng.integers(10, 22))):
        a, b = colon[int(rng.integers(len(colon)))]
        sketch.gas(
            ellipse(
                (a + float(rng.normal(0, 14)), b + float(rng.normal(0, 20))),
                float(rng.uniform(10, 26)),
                float(rng.uniform(8, 20)),
                float(rng.uniform(0, 180)),
            ),
            rim=10,
            depth=float(rng.uniform(18, 45)),
        )
    sketch.flesh(
        blob([(-165, -170), (165, -170), (160, 100), (180, 400), (-180, 400), (-160, 100)]), rim=110, depth=222
    )
    return sketch
