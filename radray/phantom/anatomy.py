"""Which sketch draws which region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from radray.phantom import lower_limb, shoulder_girdle, spine, torso, upper_limb
from radray.phantom.shapes import Sketch

SKETCHES: dict[str, Callable[[np.random.Generator], Sketch]] = {
    "knee": lower_limb.knee,
    "shoulder": shoulder_girdle.shoulder,
    "ankle": lower_limb.ankle,
    "elbow": upper_limb.elbow,
    "foot": lower_limb.foot,
    "wrist": upper_limb.wrist,
    "hand": upper_limb.hand,
    "cervical_spine": spine.cervical_spine,
    "clavicle": shoulder_girdle.clavicle,
    "thoracic_spine": spine.thoracic_spine,
    "lumbar_spine": spine.lumbar_spine,
    "skull": torso.skull,
    "ribs": torso.ribs,
    "scapula": shoulder_girdle.scapula,
    "pelvis": lower_limb.pelvis,
    "hip": lower_limb.hip,
    "femur": lower_limb.femur,
    "lower_leg": lower_limb.lower_leg,
    "humerus": upper_limb.humerus,
    "forearm": upper_limb.forearm,
    "chest": torso.chest,
    "abdomen": torso.abdomen,
}
"""Region name of `skeletal22` -> the function that draws one of its views at random."""

TRUNK = frozenset({"cervical_spine", "thoracic_spine", "lumbar_spine", "skull", "ribs", "pelvis", "chest", "abdomen"})
"""Regions that are never turned by a quarter on the detector and carry no plate or cast."""

PAIRED = frozenset(SKETCHES) - TRUNK | {"ribs"}
"""Regions with a side."""
