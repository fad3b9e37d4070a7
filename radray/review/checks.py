"""The label checks of a review, and how right labels and model are by the verdicts on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from radray import storage
from radray.review.accuracy import Checked, accuracy_after_review
from radray.review.queue import CONTROL, SUSPECT
from radray.review.verdicts import Verdict, settled_outcomes, standing_verdicts

FINDINGS_FILE = "findings.parquet"
COUNTS_FILE = "queue.json"
COLUMNS = ["uri", "issue", "rank", "round", "score", "label", "suggested", "evidence"]


@dataclass(frozen=True, kw_only=True)
class LabelChecks:
    """What the audit drew for the review: the suspects of its first round, and the controls of the rest."""

    found: list[dict[str, Any]]
    """Their findings, `COLUMNS`: suspects, then controls in the order in which they are shown."""
    labelled: int
    """Images whose label the audit checked."""
    suspected: int
    """Of those, the suspected ones."""
    verdicts_seen: int = 0
    """Settled verdicts that went into the findings of the first round: those images are in neither stratum."""

    @classmethod
    def load(cls, findings_url: str) -> Self | None:
        """Read the audit's output; None where it drew no controls.

        The controls stand for what was not suspected in the first round; what later rounds suspect of that has been
        chosen, not drawn, and does not count.
        """
        counts = storage.join(findings_url, COUNTS_FILE)
        if not storage.exists(counts):
            return None
        given = storage.read_json(counts)
        rows = storage.read_table(storage.join(findings_url, FINDINGS_FILE), columns=COLUMNS).to_pylist()
        controls = sorted((row for row in rows if row["issue"] == CONTROL), key=lambda row: int(row["rank"]))
        if not controls:
            return None
        least = given.get("min_probability", 0.0)
        suspects = [row for row in rows if row["issue"] == SUSPECT and row["round"] == 0 and row["score"] >= least]
        return cls(
            found=[*suspects, *controls],
            labelled=given["labelled"],
            suspected=given["suspected"],
            verdicts_seen=given.get("verdicts_seen", 0),
        )

    def outcomes(self, verdicts: Sequence[Verdict]) -> list[Checked]:
        """The label checks with what came of each."""
        settled, seen = settled_outcomes(verdicts), {uri for uri, _ in standing_verdicts(verdicts)}
        return [
            Checked(
                suspected=row["issue"] == SUSPECT,
                label=row["label"],
                answer=_answer(row),
                outcome=settled.get(row["uri"]),
                seen=row["uri"] in seen,
                score=row["score"],
            )
            for row in self.found
        ]

    def accuracy(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """See `accuracy_after_review`; says too whose answers they are, and how many verdicts were given blind."""
        if self.verdicts_seen:
            nothing = accuracy_after_review([], 0, 0)
            return nothing | {"not_estimated": _OTHERS.format(self.verdicts_seen), "assumed": []}
        found = accuracy_after_review(self.outcomes(verdicts), self.labelled, self.suspected)
        pooled = [row for row in self.found if "answer" not in json.loads(row["evidence"])]
        found["assumed"] += [_POOLED if pooled else _ALONE, self._say_blindness(verdicts)]
        return found

    def _say_blindness(self, verdicts: Sequence[Verdict]) -> str:
        checked = {row["uri"] for row in self.found}
        given = [verdict for (uri, _), verdict in standing_verdicts(verdicts).items() if uri in checked]
        blind = sum(verdict.blind == "yes" for verdict in given)
        if given and blind == len(given):
            return f"all {blind:,} verdicts on them were given blind: the model's opinion was hidden"
        return (
            f"{blind:,} of {len(given):,} verdicts on them were given blind; for the others the model's opinion was on "
            "the page (or it is not known), which lets a reviewer guess what is suspected"
        )


_OTHERS = (
    "the audit began with {:,} verdicts: images that they are about are in no sample of it; audit into the folder of "
    "the first audit, or without verdicts, to learn the accuracy of the whole archive"
)
_ALONE = "the model's answer is the ensemble's own for patients it was not trained on, without their neighbours' labels"
_POOLED = "the model's answer is the audit's, which pools the ensemble with the labels of the nearest images"


def _answer(row: dict[str, Any]) -> str:
    """The ensemble's own region out of fold; in older findings that of the pooled opinion."""
    evidence = json.loads(row["evidence"])
    top = evidence.get("top") or [[row["suggested"]]]
    return str(evidence.get("answer") or top[0][0])
