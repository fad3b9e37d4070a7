"""How wrong the labels are, how right the model is: estimates from a review that also saw labels nobody suspected.

The review is a stratified sample of the labels that were checked. Of the suspected ones it sees all or the first, of
the others a random sample that is mixed in blind; each stratum counts with its size (W. G. Cochran, Sampling
Techniques, 3rd ed., chapter 5). The intervals come from what is known of the images not looked at: in each stratum a
Dirichlet(½, ½, ½) distribution of right, wrong and out of domain, carried on to the finite rest (the Jeffreys interval
for a share: L. D. Brown, T. T. Cai, A. DasGupta, Statist. Sci. 16 (2001) 101); a stratum seen whole adds no doubt.

Images out of domain leave the count. An image whose reviewers differ, or are unsure, counts as not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from radray.review.verdicts import OUTSIDE

DRAWS = 4000
LEVEL = 0.95
SEEN_SHARE = 0.95
"""Of the queue's beginning so much must be judged for it to count as worked through."""
LEAST_CONTROLS = 10
"""Fewer judged labels of those that nobody suspected say nothing about the rest."""
_LEAST_LAST = 20
RIGHT, WRONG, OUT = range(3)
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One label check of the queue and what came of it."""

    suspected: bool
    label: str
    answer: str
    """The model's most probable region."""
    outcome: str | None
    """Region, `OUTSIDE`, or None: open."""
    seen: bool
    """Somebody has given a verdict, if only unsure."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A share with its interval, 0 to 1."""

    value: float
    low: float
    high: float


def accuracy_after_review(checks: Sequence[Checked], labelled: int, suspected: int, seed: int = 0) -> dict[str, Any]:
    """Accuracy of labels and model over all `labelled` images, from the queue's beginning that was worked through.

    Args:
        checks: The label checks in the order of the queue.
        labelled: Images whose label was checked.
        suspected: Of those, the suspected ones.
        seed: Of the draws behind the intervals.

    Returns:
        `label_accuracy`, `label_error_rate` and `model_accuracy` (value, low, high; None as long as no suspect or fewer
        than `LEAST_CONTROLS` controls are judged), `theoretical_accuracy` (one-sided), the counts behind them, and
        what is `assumed`.
    """
    seen = seen_beginning(np.array([check.seen for check in checks], bool))
    done = [check for check in checks[:seen] if check.outcome is not None]
    suspects, controls = ([check for check in done if check.suspected is kind] for kind in (True, False))
    found: dict[str, Any] = {
        "labelled": labelled,
        "suspected": suspected,
        "queue": len(checks),
        "looked_at": seen,
        "suspects_judged": len(suspects),
        "controls_judged": len(controls),
        "controls_wrong": int(_count(controls, of_model=False)[WRONG]),
        "label_accuracy": None,
        "label_error_rate": None,
        "model_accuracy": None,
        "theoretical_accuracy": theoretical_accuracy(checks, labelled, suspected),
        "assumed": _assumptions(suspected - len(suspects), seen - len(done)),
    }
    enough = len(controls) >= min(LEAST_CONTROLS, labelled - suspected)
    if enough and (suspects or not suspected):
        rng = np.random.default_rng(seed)
        labels = _estimate(suspects, controls, labelled, suspected, rng, of_model=False)
        found["label_accuracy"] = vars(labels)
        found["label_error_rate"] = {
            "value": 1 - labels.value,
            "low": 1 - labels.high,
            "high": 1 - labels.low,
        }
        found["model_accuracy"] = vars(_estimate(suspects, controls, labelled, suspected, rng, of_model=True))
    return found


def seen_beginning(seen: npt.NDArray[np.bool_]) -> int:
    """Length of the longest beginning of the queue of which `SEEN_SHARE` was looked at.

    Where reviewers filter or jump, what they saw further on is no random sample; only the beginning is.
    """
    if not len(seen):
        return 0
    share = seen.cumsum() / np.arange(1, len(seen) + 1)
    reached = np.flatnonzero((share >= SEEN_SHARE) & seen)
    return int(reached[-1]) + 1 if len(reached) else 0


def theoretical_accuracy(checks: Sequence[Checked], labelled: int, suspected: int) -> float | None:
    """The model's accuracy if every label that was not suspected were right, as Langer et al., arXiv 2412.15967, do.

    Suspects count by their verdict, images out of domain leave the count, and what nobody has judged counts as an
    error. One-sided: errors that model and label share are never looked for.
    """
    suspects = [check for check in checks if check.suspected and check.outcome is not None]
    outside = sum(check.outcome == OUTSIDE for check in suspects)
    right = sum(check.outcome == check.answer for check in suspects)
    images = labelled - outside
    return (labelled - suspected + right) / images if images else None


def _estimate(
    suspects: Sequence[Checked],
    controls: Sequence[Checked],
    labelled: int,
    suspected: int,
    rng: np.random.Generator,
    *,
    of_model: bool,
) -> Estimate:
    """Share of right ones among the images in the domain.

    Suspects that nobody has judged lie further down the queue, so those judged do not stand for them. Two cases bound
    them. Labels: they are as often right as the last suspects judged, or as often as labels nobody suspects. Model:
    all its answers there are wrong, or all are right.
    """
    seen, free = _count(suspects, of_model=of_model), _count(controls, of_model=of_model)
    rest = suspected - int(seen.sum())
    unsuspected = _totals(free, labelled - suspected, rng)
    last = _count(suspects[-max(_LEAST_LAST, len(suspects) // 4) :], of_model=of_model)
    cases = [
        seen + _draw(last, rest, rng),
        seen + _draw(free, rest, rng),
    ]
    middle = [_expected(last, rest), _expected(free, rest)]
    if of_model:
        cases = [seen + rest * np.eye(3, dtype=np.int64)[each] for each in (WRONG, RIGHT)]
        middle = [_expected(last, rest)]
    shares = [_share_right(case + unsuspected) for case in cases]
    tail = (1 - LEVEL) / 2
    low = min(float(np.quantile(share, tail)) for share in shares)
    high = max(float(np.quantile(share, 1 - tail)) for share in shares)
    whole = seen + np.mean(middle, axis=0) + _expected(free, labelled - suspected)
    value = float(_share_right(whole[None])[0])
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _count(checks: Sequence[Checked], *, of_model: bool) -> Counts:
    """Int64[3]: right, wrong, out of domain."""
    counts = np.zeros(3, np.int64)
    for check in checks:
        named = check.answer if of_model else check.label
        counts[OUT if check.outcome == OUTSIDE else RIGHT if check.outcome == named else WRONG] += 1
    return counts


def _totals(counts: Counts, size: int, rng: np.random.Generator) -> Counts:
    """Int64[draws, 3]: what a stratum of `size` may hold, of which `counts` were drawn at random and seen."""
    return counts + _draw(counts, size - int(counts.sum()), rng)


def _draw(counts: Counts, size: int, rng: np.random.Generator) -> Counts:
    shares = rng.dirichlet(counts + 0.5, DRAWS)
    drawn: Counts = rng.multinomial(max(size, 0), shares)
    return drawn


def _expected(counts: Counts, size: int) -> npt.NDArray[np.float64]:
    """Float64[3]: `size` images of which the shares are those of `counts`."""
    known = int(counts.sum())
    expected: npt.NDArray[np.float64] = size * counts / known if known else np.zeros(3)
    return expected


def _share_right(totals: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    inside = totals[:, RIGHT] + totals[:, WRONG]
    share: npt.NDArray[np.float64] = totals[:, RIGHT] / np.maximum(inside, 1)
    return share


def _assumptions(unjudged: int, open_ones: int) -> list[str]:
    lines = [
        "the labels that nobody suspected are judged by a random sample of them, mixed in blind",
        "images out of domain leave the count",
    ]
    if unjudged:
        lines.append(
            f"{unjudged:,} suspected labels are not judged: their labels are taken to be right at least as often as "
            "those judged last and at most as often as those not suspected; the model may be right on none or all of "
            "them"
        )
    if open_ones:
        lines.append(f"{open_ones:,} images are open (unsure, or reviewers differ): as their kind otherwise")
    return lines
