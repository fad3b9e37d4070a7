"""Sketches of shoulder, clavicle and scapula (the right side of the patient's body, chest to the image's left)."""

from __future__ import annotations

import numpy as np

from radray.phantom.shapes import Sketch, View, blob, ellipse, smooth, step, tube, turn

Random = np.random.Generator


def _girdle(sketch: Sketch, rng: Random, *, arm_deg: float, ribs: int, glenoid_x: float = 0.0) -> None:
    """Humerus, scapula, clavicle and upper ribs about the glenoid (0, 0)."""
    g = glenoid_x
    head = (26.0, 2.0)
    shaft_end = step(head, 180 - arm_deg, 190)
    neck = step(head, 180 - arm_deg, 32)
    tubercle = ellipse(step((head[0] + 13, head[1] + 2), 180 - arm_deg, 4), 12, 18, -arm_deg)
    sketch.tube([step(head, 180 - arm_deg, 12), neck, shaft_end], [20, 14, 11.5, 11], cortex=3.2,
                extra=[ellipse(head, 23, 23.5), tubercle], depth=33, shaft=True)  # fmt: skip
    body = turn(
        blob([(-2, -15), (4, 0), (-2, 17), (-15, 26), (-38, 78), (-55, 122), (-64, 126), (-74, 60),
              (-80, -2), (-72, -24), (-45, -18), (-22, -14)]),
        float(rng.normal(0, 7)), (0.0, 0.0),
    )  # fmt: skip
    sketch.blob(body + np.array([g, 0.0]), rim=4.5, depth=11, cortex=2.2, hollow=0.45)
    sketch.tube([(-24 + g, 20), (-40 + g, 72), (-56 + g, 118)], [4, 4, 4], depth=9, cortex=2)
    sketch.blob(ellipse((g - 2, 1), 5.5, 18, 4), rim=5, depth=12)
    sketch.tube(
        [(-70 + g, -6), (-40 + g, -20), (-8 + g, -37), (14 + g, -37), (24 + g, -28)],
        [4, 5, 6.5, 9, 8],
        cortex=1.8,
        depth=13,
    )
    sketch.tube([(-18 + g, -16), (-12 + g, -24), (3 + g, -20), (7 + g, -12)], [6, 6, 6, 5], depth=11)
    rise = float(rng.normal(0, 8))
    clavicle = [(12, -40), (-25, -50 - 0.3 * rise), (-70, -44 - rise), (-105, -34 - rise), (-138, -28 - rise)]
    sketch.tube(clavicle, [8.5, 7, 6, 6.5, 10], cortex=2.8, depth=16, hollow=0.6)
    for i in range(ribs):
        y, reach = -46 + 25 * i, min(62 + 12 * i, 108)
        x0 = -168.0
        points = [
            (x0, y),
            (x0 + 0.55 * reach, y - 6),
            (x0 + reach, y + 18),
            (x0 + 1.0 * reach, y + 50),
            (x0 + 0.7 * reach, y + 82),
        ]
        sketch.tube(points, [5.5, 5.5, 5.5, 6, 6], cortex=1.3, depth=8, hollow=0.6)
    lung = blob([(-175, -60), (-135, -58), (-108, -25), (-78, 40), (-66, 110), (-66, 200), (-180, 200)])
    sketch.gas(lung, rim=45, depth=105)
    arm = tube(smooth([(24, -18), neck, shaft_end]), [44, 48, 46, 44])
    trunk = blob(
        [(-200, -110), (-130, -88), (-70, -72), (-10, -60), (40, -40), (40, 50), (-25, 90), (-45, 250), (-220, 250)]
    )
    sketch.flesh(arm, rim=44, depth=85)
    sketch.flesh(trunk, rim=85, depth=165)


def shoulder(rng: Random) -> Sketch:
    """Shoulder AP, or axial with the arm lifted."""
    if rng.random() < 0.72:
        sketch = Sketch(view=View("AP", (-8, 20), (155, 165)))
        _girdle(sketch, rng, arm_deg=float(rng.normal(8, 9)), ribs=5)
        return sketch
    sketch = Sketch(view=View("AX", (15, 0), (150, 140)))
    head = (10.0, 0.0)
    out = float(rng.normal(88, 8))
    sketch.tube([step(head, out, 8), step(head, out, 35), step(head, out, 180)], [21, 14, 11.5, 11.5], cortex=3.2,
                extra=[ellipse(head, 23, 24)], depth=34, shaft=True)  # fmt: skip
    sketch.blob(
        blob([(-19, -16), (-13, 0), (-18, 17), (-34, 12), (-80, 18), (-130, 30), (-130, 12), (-75, -2), (-34, -9)]),
        rim=7,
        depth=18,
        cortex=1.6,
    )
    sketch.tube([(-32, -8), (-30, -30), (-12, -44), (2, -42)], [7, 7, 7, 6], depth=13)
    sketch.tube([(-100, -30), (-45, -35), (0, 10), (12, 30)], [6, 6.5, 7, 7], depth=10, cortex=1.6)
    sketch.tube([(-40, 22), (-10, 36), (16, 36), (30, 24)], [6, 8, 10, 7], depth=11, cortex=1.6)
    sketch.flesh(tube(smooth([(-60, 5), head, step(head, out, 180)]), [85, 62, 50, 45]), rim=48, depth=95)
    return sketch


def clavicle(rng: Random) -> Sketch:
    """Clavicle AP, whole bone across the field."""
    sketch = Sketch(view=View("AP", (-62, -36), (190, 95)))
    _girdle(sketch, rng, arm_deg=float(rng.normal(6, 5)), ribs=6)
    sketch.blob(blob([(-152, -34), (-180, -30), (-178, 70), (-158, 60)]), rim=7, depth=14, cortex=1.5)
    for i in range(6):
        sketch.blob(
            blob([(-182, -70 + 26 * i), (-156, -70 + 26 * i), (-158, -49 + 26 * i), (-182, -49 + 26 * i)]),
            rim=7,
            depth=20,
        )
    return sketch


def scapula(rng: Random) -> Sketch:
    """Scapula AP with the arm lifted, or lateral (Y view)."""
    if rng.random() < 0.6:
        sketch = Sketch(view=View("AP", (-34, 44), (125, 190)))
        _girdle(sketch, rng, arm_deg=float(rng.uniform(55, 110)), ribs=8)
        return sketch
    sketch = Sketch(view=View("Y", (0, 48), (125, 200)))
    lean = float(rng.normal(10, 6))
    tip = step((0, 0), 180 + lean, 130)
    sketch.tube([(0, -6), step((0, 0), 180 + lean, 60), tip], [7, 4.5, 4.5, 6], depth=26, cortex=2.2, hollow=0.5)
    sketch.tube([(0, 0), (16, -22), (34, -40), (48, -40)], [7, 6, 8, 7], depth=20)
    sketch.tube([(0, 0), (-14, -20), (-28, -28), (-36, -20)], [7, 6.5, 7, 6], depth=18)
    sketch.tube([(46, -48), (10, -62), (-60, -58), (-120, -40)], [8, 6.5, 6, 8], depth=13, cortex=1.8)
    sketch.tube(
        [(0, 12), step((2, 0), 176, 50), step((2, 0), 176, 220)],
        [19, 13, 11.5, 11],
        cortex=3,
        extra=[ellipse((0, 2), 23, 23)],
        depth=32,
        shaft=True,
    )
    for i in range(7):
        y = -60 + 29 * i
        sketch.tube(
            [(-150, y), (-95, y - 4), (-44, y + 14), (-28, y + 45), (-45, y + 70)],
            [5.5, 5.5, 5.5, 5.5],
            depth=8,
            cortex=1.3,
            hollow=0.6,
        )
    sketch.gas(blob([(-160, -50), (-100, -50), (-52, 0), (-38, 90), (-40, 220), (-180, 220)]), rim=40, depth=110)
    sketch.flesh(
        blob([(-200, -120), (-60, -95), (20, -75), (62, -45), (58, 60), (40, 240), (-220, 240)]), rim=70, depth=165
    )
    return sketch
