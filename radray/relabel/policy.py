"""Who decides an image's label: the reviewer, else a confident model that the header does not bear out, else it.

What reviewers looked at and did not settle is held: it stays as the header has it, whatever the model says.
"""

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
    held: bool,
    min_confidence: float,
) -> Decision:
    """Apply the policy to one image.

    Args:
        header: The header's region, None where it names none.
        model: The bundle's region, None where there is no prediction.
        confidence: Of the model, 0 to 1.
        abstained: The bundle abstained; its region does not count then.
        verdict: The settled verdict on the image, None without.
        held: Reviewers looked at the image and settled nothing.
        min_confidence: The model speaks from here on.
    """
    if verdict is not None and verdict.verdict in (Ruling.CONFIRM, Ruling.CORRECT):
        return Decision(verdict.region, Source.REVIEWER)
    if verdict is not None and verdict.verdict == Ruling.OUT_OF_DOMAIN:
        return Decision(None, Source.REVIEWER)
    if not held and model is not None and model != header and not abstained and confidence >= min_confidence:
        return Decision(model, Source.MODEL)
    return Decision(header, Source.HEADER) if header is not None else Decision(None, None)


class Settled(NamedTuple):
    """What the reviewers say in the end; no image is in two of these."""

    verdicts: dict[str, Verdict]
    """By `uri`, where all who are sure agree."""
    disputed: frozenset[str]
    """Images about which reviewers who are sure disagree."""
    unsure: frozenset[str]
    """Images that were looked at, and nobody is sure."""

    def is_held(self, uri: str) -> bool:
        """Whether an image stays as it is until reviewers settle it."""
        return uri in self.disputed or uri in self.unsure


def settle_verdicts(verdicts: Iterable[Verdict]) -> Settled:
    """One verdict an image; a reviewer who is unsure does not outvote one who is not."""
    sure: dict[str, list[Verdict]] = {}
    seen = set()
    for (uri, _), verdict in standing_verdicts(verdicts).items():
        seen.add(uri)
        if verdict.outcome is not None:
            sure.setdefault(uri, []).append(verdict)
    agreed = {uri: given[-1] for uri, given in sure.items() if len({verdict.outcome for verdict in given}) == 1}
    return Settled(agreed, frozenset(sure.keys() - agreed.keys()), frozenset(seen - sure.keys()))
