"""How wrong the labels are, how right the model is: estimates from a review that also saw labels nobody suspected.

The review is a stratified sample of the labels that were checked. Of the suspected ones it sees all or the first, of
the others a random sample that is mixed in; each stratum counts with its size (W. G. Cochran, Sampling
Techniques, 3rd ed., chapter 5). The intervals come from what is known of the images not looked at: in each stratum a
Dirichlet(½, ½, ½) distribution of right, wrong and out of domain, carried on to the finite rest (the Jeffreys interval
for a share: L. D. Brown, T. T. Cai, A. DasGupta, Statist. Sci. 16 (2001) 101); a stratum seen whole adds no doubt.
A single value is told once every suspect was looked at; until then the others are not like those judged, which come
first in the queue, and only bounds are known.

Images out of domain leave the count. An image whose reviewers differ, or are unsure, is open: a hard image is not like
the others, so that open ones count once as right and once as wrong.
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
"""Of the controls' beginning so much must be looked at for it to count as worked through."""
LEAST_CONTROLS = 10
"""Fewer judged labels of those that nobody suspected say nothing about the rest."""
RIGHT, WRONG, OUT = range(3)
_EACH = np.eye(3, dtype=np.int64)
_DIGITS = 5
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One label check and what came of it."""

    suspected: bool
    label: str
    answer: str
    """The model's most probable region."""
    outcome: str | None
    """Region, `OUTSIDE`, or None: open."""
    seen: bool
    """Somebody has given a verdict, if only unsure."""
    score: float
    """The audit's probability that the label is wrong."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A share with its interval, 0 to 1."""

    value: float | None
    """None while suspects wait that nobody has looked at."""
    low: float
    high: float


def accuracy_after_review(checks: Sequence[Checked], labelled: int, suspected: int, seed: int = 0) -> dict[str, Any]:
    """Accuracy of labels and model over all `labelled` images.

    Args:
        checks: The suspects, and the controls in the (random) order in which they are shown.
        labelled: Images whose label was checked.
        suspected: Of those, the suspected ones.
        seed: Of the draws behind the intervals.

    Returns:
        `label_accuracy`, `label_error_rate` and `model_accuracy` (value, low, high; see `Estimate`), or None for each
        and why in `not_estimated`; `theoretical_accuracy` (one-sided), the counts behind them, and what is `assumed`.
    """
    controls = [check for check in checks if not check.suspected]
    controls = controls[: seen_beginning(np.array([check.seen for check in controls], bool))]
    review = Review(
        suspects=[check for check in checks if check.suspected],
        controls=[check for check in controls if check.outcome is not None],
        open_controls=sum(check.outcome is None for check in controls),
        labelled=labelled,
        suspected=suspected,
    )
    judged = len(review.judged)
    open_suspects = sum(check.seen and check.outcome is None for check in review.suspects)
    found: dict[str, Any] = {
        "labelled": labelled,
        "suspected": suspected,
        "suspects_judged": judged,
        "controls_judged": len(review.controls),
        "suspects_waiting": review.waiting,
        "controls_open": review.open_controls,
        "controls_wrong": int(_count(review.controls, of_model=False)[WRONG]),
        "label_accuracy": None,
        "label_error_rate": None,
        "model_accuracy": None,
        "theoretical_accuracy": theoretical_accuracy(checks, labelled, suspected),
        "not_estimated": _why_not(review),
        "assumed": _assumptions(review.waiting, open_suspects + review.open_controls),
    }
    if found["not_estimated"] is None:
        rng = np.random.default_rng(seed)
        labels = _estimate_labels(review, rng)
        found["label_accuracy"] = _told(labels)
        error_rate = None if labels.value is None else 1 - labels.value
        found["label_error_rate"] = _told(Estimate(value=error_rate, low=1 - labels.high, high=1 - labels.low))
        found["model_accuracy"] = _told(_estimate_model(review, rng))
    return found


def _why_not(review: Review) -> str | None:
    """Why nothing can be estimated; None where it can."""
    least = min(LEAST_CONTROLS, review.labelled - review.suspected)
    if not review.labelled:
        return "no label was checked"
    if review.suspected and not review.judged:
        return "no suspected label is judged"
    if len(review.controls) < least:
        return f"{len(review.controls)} of the labels that nobody suspected are judged in order; {least} are needed"
    if all(check.outcome == OUTSIDE for check in [*review.judged, *review.controls]):
        return "all images that are judged are out of domain"
    return None


def seen_beginning(seen: npt.NDArray[np.bool_]) -> int:
    """Length of the longest beginning of the controls of which `SEEN_SHARE` was looked at.

    Where reviewers filter or jump, what they saw further on is no random sample; only the beginning is.
    """
    if not len(seen):
        return 0
    share = seen.cumsum() / np.arange(1, len(seen) + 1)
    reached = np.flatnonzero((share >= SEEN_SHARE) & seen)
    return int(reached[-1]) + 1 if len(reached) else 0


def theoretical_accuracy(checks: Sequence[Checked], labelled: int, suspected: int) -> float | None:
    """The model's accuracy if labels and answers were right wherever no label was suspected, as Langer et al. do.

    Suspects count by their verdict, images out of domain leave the count, and what nobody has judged counts as an
    error. One-sided: errors that model and label share are never looked for (arXiv 2412.15967).
    """
    suspects = [check for check in checks if check.suspected and check.outcome is not None]
    outside = sum(check.outcome == OUTSIDE for check in suspects)
    right = sum(check.outcome == check.answer for check in suspects)
    images = labelled - outside
    return round((labelled - suspected + right) / images, _DIGITS) if images else None


@dataclass(frozen=True, kw_only=True)
class Review:
    """The two strata and what is known of them."""

    suspects: list[Checked]
    """Judged or not; some that nobody has judged may be missing."""
    controls: list[Checked]
    """A random sample of the others, all judged."""
    open_controls: int
    """What that sample holds beside them: looked at or passed over, without an outcome."""
    labelled: int
    suspected: int

    @property
    def judged(self) -> list[Checked]:
        """The suspects with an outcome."""
        return [check for check in self.suspects if check.outcome is not None]

    @property
    def rest(self) -> int:
        """Suspects without an outcome."""
        return self.suspected - len(self.judged)

    @property
    def waiting(self) -> int:
        """Suspects that nobody has looked at."""
        return self.suspected - sum(check.seen for check in self.suspects)


def _estimate_labels(review: Review, rng: np.random.Generator) -> Estimate:
    """Share of right labels. Suspects that nobody has judged are not like those judged, which come first in the queue.

    Two cases bound them: they are as often wrong as the judged ones (or as their own scores say, if that is more), or
    as labels nobody suspects. The value takes their scores, corrected by how right the scores of the judged ones were.
    """
    seen, free = _count(review.judged, of_model=False), _count(review.controls, of_model=False)
    share, said, told = _wrong_shares(review, seen)
    worst: npt.NDArray[Any] = seen
    if said > share:
        worst = len(review.judged) * np.array([1 - said, said, 0])
    best = free + review.open_controls * _EACH[RIGHT]
    undecided = review.rest - review.waiting
    cases = [
        seen + _draw(worst, review.waiting, rng) + undecided * _EACH[WRONG],
        seen + _draw(best, review.waiting, rng) + undecided * _EACH[RIGHT],
    ]
    likely = np.clip(said * told, _expected(free, 1)[WRONG], max(share, said))
    middle = review.rest * np.array([1 - likely, likely, 0])
    return _combine(review, cases, seen + middle, free, rng)


def _wrong_shares(review: Review, seen: Counts) -> tuple[float, float, float]:
    """Share of wrong ones among the judged suspects, the others' mean score, and wrong ones for each one expected."""
    open_scores = [check.score for check in review.suspects if check.outcome is None]
    judged_scores = [check.score for check in review.judged if check.outcome != OUTSIDE]
    expected = sum(judged_scores)
    share = float(seen[WRONG] / max(seen[RIGHT] + seen[WRONG], 1))
    said = float(np.mean(open_scores)) if open_scores else share
    return share, said, float(seen[WRONG]) / expected if expected else 1.0


def _estimate_model(review: Review, rng: np.random.Generator) -> Estimate:
    """Share of right answers; on suspects that nobody has judged all may be wrong, or all right."""
    seen, free = _count(review.judged, of_model=True), _count(review.controls, of_model=True)
    cases = [seen + review.rest * _EACH[each] for each in (WRONG, RIGHT)]
    return _combine(review, cases, seen + _expected(seen, review.rest), free, rng)


def _combine(
    review: Review,
    cases: list[npt.NDArray[Any]],
    suspects: npt.NDArray[np.float64],
    free: Counts,
    rng: np.random.Generator,
) -> Estimate:
    """Put the strata together.

    Args:
        review: Their sizes.
        cases: [draws, 3] or [3] each: what the suspects may hold.
        suspects: Float64[3], what they most likely hold.
        free: Of the controls with an outcome.
        rng: Draws the labels nobody suspects.
    """
    size = review.labelled - review.suspected
    shares = []
    for each in (WRONG, RIGHT) if review.open_controls else (RIGHT,):
        known = free + review.open_controls * _EACH[each]
        unsuspected = known + _draw(known, size - int(known.sum()), rng)
        shares += [_share_right(case + unsuspected) for case in cases]
    tail = (1 - LEVEL) / 2
    low = min(float(np.nanquantile(share, tail)) for share in shares)
    high = max(float(np.nanquantile(share, 1 - tail)) for share in shares)
    value = float(_share_right((suspects + _expected(free, size))[None])[0])
    return Estimate(value=None if review.waiting else value, low=min(low, value), high=max(high, value))


def _told(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if share is None else round(share, _DIGITS) for name, share in vars(estimate).items()}


def _count(checks: Sequence[Checked], *, of_model: bool) -> Counts:
    """Int64[3]: right, wrong, out of domain."""
    counts = np.zeros(3, np.int64)
    for check in checks:
        named = check.answer if of_model else check.label
        counts[OUT if check.outcome == OUTSIDE else RIGHT if check.outcome == named else WRONG] += 1
    return counts


def _draw(counts: npt.NDArray[Any], size: int, rng: np.random.Generator) -> Counts:
    """Int64[draws, 3]: what `size` images like those counted may hold."""
    shares = rng.dirichlet(counts + 0.5, DRAWS)
    drawn: Counts = rng.multinomial(max(size, 0), shares)
    return drawn


def _expected(counts: Counts, size: int) -> npt.NDArray[np.float64]:
    """Float64[3]: `size` images of which the shares are those of `counts`."""
    known = int(counts.sum())
    expected: npt.NDArray[np.float64] = size * counts / known if known else np.zeros(3)
    return expected


def _share_right(totals: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """NaN where no image is in domain."""
    inside = (totals[:, RIGHT] + totals[:, WRONG]).astype(np.float64)
    share: npt.NDArray[np.float64] = totals[:, RIGHT] / np.where(inside > 0, inside, np.nan)
    return share


def _assumptions(waiting: int, open_ones: int) -> list[str]:
    lines = [
        "the labels that nobody suspected are judged by a random sample of them, mixed in unmarked",
        "images out of domain leave the count",
    ]
    if waiting:
        lines.append(
            f"{waiting:,} suspected labels wait, so that only bounds are told: they are wrong at most as often as "
            "those judged, or as their scores say, and at least as often as those not suspected; the model may be "
            "right on none or all of them"
        )
    if open_ones:
        lines.append(
            f"{open_ones:,} images are open (unsure, passed over, or reviewers differ): the intervals hold whichever "
            "way they come out"
        )
    return lines
