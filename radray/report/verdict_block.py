"""Accuracy once a radiologist has looked at the errors: wrong labels do not count against the ensemble any more.

As Langer et al., arXiv 2412.15967, report it: an error whose label was wrong and whose answer was right counts as
right; images out of domain leave the count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any

from radray.report.page import Block
from radray.review.verdicts import Ruling, Verdict, standing_verdicts

LABEL_WRONG = "label wrong, answer right"
BOTH_WRONG = "label and answer wrong"
ANSWER_WRONG = "label right, answer wrong"
ALIKE_WRONG = "label and answer alike, both wrong"
OUTSIDE = "out of domain"
OUTSIDE_RIGHT = "out of domain, answered as labelled"
OPEN = "unsure or not looked at"
_INTERVAL = ("value", "low", "high")


def judge_errors(test: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How the labelled test images come out: `images`, `right` by their label, and what each error was found to be.

    Where reviewers differ about an image it stays open.

    Args:
        test: uri, label, region of the ensemble's test predictions.
        verdicts: All lines of verdicts.csv.
    """
    by_image: dict[str, set[tuple[str, str]]] = {}
    for (uri, _), verdict in standing_verdicts(verdicts).items():
        if verdict.verdict != Ruling.UNSURE:
            by_image.setdefault(uri, set()).add((verdict.verdict, verdict.region))
    counts: Counter[str] = Counter({"images": 0, "right": 0})
    for row in test:
        if row["label"] is None:
            continue
        counts["images"] += 1
        counts["right"] += row["label"] == row["region"]
        rulings = by_image.get(row["uri"], set())
        if kind := _kind(rulings.copy().pop() if len(rulings) == 1 else None, row):
            counts[kind] += 1
    return dict(counts)


def _kind(ruling: tuple[str, str] | None, row: Mapping[str, Any]) -> str | None:
    """What becomes of an image; None where it was right and stays so."""
    agrees = row["label"] == row["region"]
    if ruling is None:
        return None if agrees else OPEN
    verdict, region = ruling
    if verdict == Ruling.OUT_OF_DOMAIN:
        return OUTSIDE_RIGHT if agrees else OUTSIDE
    if agrees:
        return None if region == row["region"] else ALIKE_WRONG
    if region == row["region"]:
        return LABEL_WRONG
    return ANSWER_WRONG if region == row["label"] else BOTH_WRONG


def theoretical_accuracy(counts: Mapping[str, int]) -> float:
    """Accuracy with wrong labels put right and images out of domain left out; NaN without images."""
    images = counts["images"] - counts.get(OUTSIDE, 0) - counts.get(OUTSIDE_RIGHT, 0)
    right = counts["right"] + counts.get(LABEL_WRONG, 0) - counts.get(ALIKE_WRONG, 0) - counts.get(OUTSIDE_RIGHT, 0)
    return right / images if images else float("nan")


def verdict_block(
    test: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict], review: Mapping[str, Any] | None = None
) -> Block:
    """The errors on the test split by what a person found, and the accuracy that follows.

    Args:
        test: As for `judge_errors`.
        verdicts: All lines of verdicts.csv.
        review: The estimates of `accuracy_after_review` over all checked labels, where the audit drew controls.
    """
    counts = judge_errors(test, verdicts)
    errors = {kind: count for kind, count in counts.items() if kind not in ("images", "right")}
    share = counts["right"] / counts["images"] if counts["images"] else float("nan")
    after = theoretical_accuracy(counts)
    text = (
        f"By the labels the ensemble is right on {100 * share:.1f} % of {counts['images']:,} test images. "
        if counts["images"]
        else "No test image has a label."
    )
    if not isnan(after):
        text += (
            f"With wrong labels put right and images out of domain left out it is {100 * after:.1f} %; errors that "
            "nobody has looked at count as errors."
        )
    elif counts["images"]:
        text += "All of them are out of domain: nothing is left to count."
    rows = [{"outcome": kind, "images": count} for kind, count in counts.items()]
    rows.append({"outcome": "theoretical accuracy", "images": after})
    return Block(
        name="theoretical",
        title="After the verdicts",
        text=text + _unbiased(review),
        rows=rows,
        shown=[{"verdicts on the test split": kind, "images": f"{count:,}"} for kind, count in errors.items()],
    )


def _unbiased(review: Mapping[str, Any] | None) -> str:
    """What a review says that also saw labels which nobody suspects."""
    if review is None:
        return ""
    if review["not_estimated"] is not None:
        return f" The accuracy on the whole archive is not estimated: {review['not_estimated']}."
    model, labels = (_share(review[name]) for name in ("model_accuracy", "label_accuracy"))
    return (
        f" That is one-sided: labels that nobody suspects count as right. With {review['controls_judged']:,} of those "
        f"looked at too, drawn at random, the model's answer is right on {model} of all {review['labelled']:,} checked "
        f"images and the labels on {labels} (95 % intervals). Assumed: {'; '.join(review['assumed'])}."
    )


def _share(estimate: Mapping[str, float | None]) -> str:
    """The value with its interval; the interval alone while suspects wait."""
    value, low, high = (share if share is None else f"{100 * share:.1f}" for share in map(estimate.get, _INTERVAL))
    return f"{low} to {high} %" if value is None else f"{value} % ({low} to {high})"
