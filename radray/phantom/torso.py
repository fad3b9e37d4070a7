"""Sketches of skull, ribs, chest and abdomen."""

from __future__ import annotations

import numpy as np

from radray.phantom.axial_parts import (
    add_mandible_side,
    add_rib_cage,
    add_vertebra_ap,
    add_vertebra_lateral,
    stack_column,
)
from radray.phantom.shapes import Sketch, View, blob, ellipse, smooth, tube

Random = np.random.Generator


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
            add_vertebra_ap(sketch, (0, 92 + 18 * i), 28, 13, 6)
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
    add_mandible_side(sketch, 8, 84)
    for k in range(7):
        sketch.tube([(-24 - 7.2 * k, 62 + 1.6 * k), (-25 - 7.4 * k, 72 + 1.8 * k)], [2.6, 3.2], depth=16, hollow=0.1)
    for i, (x, y, angle) in enumerate(stack_column((22, 64), [8, 6, 4, 2, 0, -2], [18.0] * 6)):
        add_vertebra_lateral(sketch, (x, y), 17, 13.5, angle, 22 - i, 14)
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
    add_rib_cage(
        sketch, rng, count=12, top=0, spacing=25.5, half_width=wide, sides=sides, drop=float(rng.uniform(0.8, 1.15))
    )
    for i in range(14):
        add_vertebra_ap(sketch, (0, 25.5 * i - 16), 28 + i, 19 + 0.5 * i, 10)
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
    for i, (x, y, angle) in enumerate(stack_column((50, -10), [-14 + 2.4 * i for i in range(14)], [24.0] * 14)):
        add_vertebra_lateral(sketch, (x, y), 22 + i, 19 + 0.5 * i, angle, 26, 38)
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
        add_vertebra_ap(sketch, (0, -70 + 35.5 * i), 40 + i, 27, 18 if i > 3 else 6)
    add_rib_cage(sketch, rng, count=4, top=-130, spacing=30, half_width=160, sides=(-1, 1))
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
