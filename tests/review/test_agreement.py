from __future__ import annotations

import pytest

from radray.review.agreement import krippendorff_alpha, measure_agreement
from radray.review.verdicts import Verdict

# The reliability data of K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: 4 observers,
# 12 units, some missing; nominal alpha = 0.743.
OBSERVED = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def ruling(uri, reviewer, region):
    kind = {"": "out_of_domain", "?": "unsure"}.get(region, "correct")
    return Verdict(uri=uri, reviewer=reviewer, verdict=kind, region=region.strip("?"))


def test_alpha_is_that_of_the_published_example():
    units = {}
    for name, line in zip("ABCD", OBSERVED, strict=True):
        for unit, value in enumerate(line.split()):
            if value != ".":
                units.setdefault(str(unit), {})[name] = value
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_kappa_of_a_pair_leaves_out_what_one_has_not_judged():
    regions = [("hand", "hand")] * 20 + [("hand", "knee")] * 5 + [("knee", "hand")] * 10 + [("knee", "knee")] * 15
    given = [
        ruling(f"/{place}", name, region)
        for place, pair in enumerate([*regions, ("?", "hand"), ("hand", "?")])
        for name, region in zip("AB", pair, strict=True)
    ]
    found = measure_agreement([*given, ruling("/alone", "A", "hand")])
    (pair,) = found["pairs"]
    # Observed 0.7; by chance 0.5 · 0.6 + 0.5 · 0.4 = 0.5.
    assert pair == {"reviewers": ["A", "B"], "images": 50, "agreement": 0.7, "kappa": 0.4}
    assert (found["by_several"], found["conflicts"]) == (50, 15)


def test_what_cannot_be_defined_is_none():
    assert measure_agreement([])["alpha"] is None
    same = [ruling("/a", name, "hand") for name in "AB"]
    (pair,) = measure_agreement(same)["pairs"]
    assert (pair["agreement"], pair["kappa"]) == (1, None)
