"""Do the reviewers agree? Percent and Cohen's κ of each pair, Krippendorff's α of all.

What two reviewers say of an image is a region or out of domain; images that one of them has not seen or is unsure
about do not count for the pair.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from sklearn.metrics import cohen_kappa_score

from radray.review.verdicts import Verdict, outcomes_by_image

Outcomes = Mapping[str, Mapping[str, str]]
"""Image → reviewer → outcome."""


def measure_agreement(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """`pairs` of reviewers with images, agreement (0 to 1) and kappa, `alpha` of all, and images in `conflict`.

    Kappa and alpha are None where they are not defined: no common image, or all of one region.
    """
    outcomes = outcomes_by_image(verdicts)
    names = sorted({name for given in outcomes.values() for name in given})
    several = {uri: given for uri, given in outcomes.items() if len(given) > 1}
    return {
        "reviewers": names,
        "images": len(outcomes),
        "by_several": len(several),
        "conflicts": sum(len(set(given.values())) > 1 for given in several.values()),
        "pairs": [_pair(several, one, other) for one, other in combinations(names, 2)],
        "alpha": krippendorff_alpha(several),
    }


def _pair(outcomes: Outcomes, one: str, other: str) -> dict[str, Any]:
    both = [(given[one], given[other]) for given in outcomes.values() if one in given and other in given]
    pair: dict[str, Any] = {"reviewers": [one, other], "images": len(both), "agreement": None, "kappa": None}
    if both:
        pair["agreement"] = round(sum(left == right for left, right in both) / len(both), 4)
    if len({each for pairs in both for each in pairs}) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pair["kappa"] = round(float(cohen_kappa_score(*zip(*both, strict=True))), 4)
    return pair


def krippendorff_alpha(outcomes: Outcomes) -> float | None:
    """Krippendorff's α for nominal outcomes and any number of reviewers, some of whom saw only a part.

    1 is full agreement, 0 what chance gives. K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), D = 1
    for every pair of different outcomes. None where no two outcomes can be compared, or all are the same.
    """
    coincidences: Counter[tuple[str, str]] = Counter()
    for given in outcomes.values():
        values = Counter(given.values())
        raters = sum(values.values())
        if raters < 2:
            continue
        for one, count in values.items():
            for other, count_of_other in values.items():
                pairs = count * (count_of_other - (one == other))
                coincidences[one, other] += pairs / (raters - 1)  # type: ignore[assignment]
    totals: Counter[str] = Counter()
    for (one, _), weight in coincidences.items():
        totals[one] += weight
    n = sum(totals.values())
    expected = n * n - sum(total * total for total in totals.values())
    if not n or not expected:
        return None
    observed = sum(weight for (one, other), weight in coincidences.items() if one != other)
    return round(1 - (n - 1) * observed / expected, 4)
