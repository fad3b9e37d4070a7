"""Sketches of the cervical, thoracic and lumbar spine (lateral views face the image's left)."""

from __future__ import annotations

import numpy as np

from radray.phantom.axial_parts import (
    add_mandible_side,
    add_rib_cage,
    add_vertebra_ap,
    add_vertebra_lateral,
    stack_column,
)
from radray.phantom.shapes import Sketch, View, blob, ellipse, smooth, tube, turn

Random = np.random.Generator


def cervical_spine(rng: Random) -> Sketch:
    """Cervical spine AP or lateral."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 8), (125, 165)))
        tilt = float(rng.normal(0, 2.5))
        for i in range(8):
            y = -54 + 17.5 * i
            add_vertebra_ap(sketch, (tilt * 0.06 * y, y), 27 + 0.7 * i, 12.5 + 0.3 * i, 7 + (6 if i > 5 else 0), tilt)
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
    for i, (x, y, angle) in enumerate(stack_column((2, -52), lordosis, [17.0 + 0.4 * i for i in range(9)])):
        spinous = [22, 20, 17, 18, 21, 27, 32, 34, 36][i]
        add_vertebra_lateral(sketch, (x, y), 16.5 + 0.5 * i, 13.2 + 0.3 * i, angle, spinous, 14 + 2 * i)
    sketch.tube([(-4, -66), (0, -72), (2, -58)], [5, 6, 5], depth=16)
    sketch.tube([(4, -74), (32, -70)], [6, 5, 7], depth=12)
    sketch.blob(
        blob([(-70, -96), (-10, -92), (14, -86), (60, -92), (88, -120), (80, -190), (-80, -190)]),
        rim=7,
        depth=44,
        cortex=5,
        hollow=0.6,
    )
    add_mandible_side(sketch, -18, -54)
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


def thoracic_spine(rng: Random) -> Sketch:
    """Thoracic spine AP or lateral."""
    if rng.random() < 0.5:
        sketch = Sketch(view=View("AP", (0, 150), (125, 330)))
        scoliosis = float(rng.normal(0, 7))
        for i in range(14):
            y = 25.5 * i - 16
            add_vertebra_ap(
                sketch, (scoliosis * float(np.sin(i / 4)), y), 27 + 1.1 * i, 18.5 + 0.5 * i, 13 - 0.35 * i, 0
            )
        add_rib_cage(sketch, rng, count=12, top=0, spacing=25.5, half_width=132, sides=(-1, 1))
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
    for i, (x, y, angle) in enumerate(stack_column((-14, -10), angles, [23.0 + 0.5 * i for i in range(14)])):
        add_vertebra_lateral(sketch, (x, y), 20 + 1.1 * i, 18 + 0.6 * i, angle, 26, 38)
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
            add_vertebra_ap(
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
    column = stack_column((-8, -66), angles, [36.0 + 0.4 * i for i in range(8)])
    for i, (x, y, angle) in enumerate(column[:7]):
        add_vertebra_lateral(sketch, (x, y), 34 + 0.9 * i, 28 - 0.1 * i, angle, 30, 8)
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
