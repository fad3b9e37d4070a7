"""Who decides an image's label: the reviewer, else a confident model that the header does not bear out, else it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from radray.review.verdicts import Ruling, Verdict, standing_verdicts


class Source(StrEnum):
    """Who a label comes from."""

    REVIEWER = "reviewer"
    MODEL = "model"
    HEADER = "header"


class Decision(NamedTuple):
    """A final label and who decided it."""

    region: str | None
    """None: no label, or none of the regions (a reviewer's out-of-domain verdict)."""
    source: Source | None
    """None where nobody knows."""


def decide_label(
    *,
    header: str | None,
    model: str | None,
    confidence: float,
    abstained: bool,
    verdict: Verdict | None,
    min_confidence: float,
) -> Decision:
    """Apply the policy to one image.

    Args:
        header: The header's region, None where it names none.
        model: The bundle's region, None where there is no prediction.
        confidence: Of the model, 0 to 1.
        abstained: The bundle abstained; its region does not count then.
        verdict: The standing verdict on the image, None without.
        min_confidence: The model speaks from here on.
    """
    if verdict is not None and verdict.verdict in (Ruling.CONFIRM, Ruling.CORRECT):
        return Decision(verdict.region, Source.REVIEWER)
    if verdict is not None and verdict.verdict == Ruling.OUT_OF_DOMAIN:
        return Decision(None, Source.REVIEWER)
    if model is not None and model != header and not abstained and confidence >= min_confidence:
        return Decision(model, Source.MODEL)
    return Decision(header, Source.HEADER) if header is not None else Decision(None, None)


def settle_verdicts(verdicts: Iterable[Verdict]) -> tuple[dict[str, Verdict], int]:
    """One verdict an image, and how many images the reviewers disagree on.

    A reviewer who is unsure does not outvote one who is not. Where the others disagree nobody's verdict stands, and the
    image stays as it is until they agree.
    """
    by_image: dict[str, list[Verdict]] = {}
    for (uri, _), verdict in standing_verdicts(verdicts).items():
        if verdict.verdict != Ruling.UNSURE:
            by_image.setdefault(uri, []).append(verdict)
    outcomes = {uri: {_outcome(verdict) for verdict in given} for uri, given in by_image.items()}
    settled = {uri: given[-1] for uri, given in by_image.items() if len(outcomes[uri]) == 1}
    return settled, len(by_image) - len(settled)


def _outcome(verdict: Verdict) -> str | None:
    return None if verdict.verdict == Ruling.OUT_OF_DOMAIN else verdict.region
