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
        return cls(found=[*suspects, *controls], labelled=given["labelled"], suspected=given["suspected"])

    def outcomes(self, verdicts: Sequence[Verdict]) -> list[Checked]:
        """The label checks with what came of each."""
        settled, seen = settled_outcomes(verdicts), {uri for uri, _ in standing_verdicts(verdicts)}
        return [
            Checked(
                suspected=row["issue"] == SUSPECT,
                label=row["label"],
                answer=(json.loads(row["evidence"]).get("top") or [[row["suggested"]]])[0][0],
                outcome=settled.get(row["uri"]),
                seen=row["uri"] in seen,
                score=row["score"],
            )
            for row in self.found
        ]

    def accuracy(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """See `accuracy_after_review`."""
        return accuracy_after_review(self.outcomes(verdicts), self.labelled, self.suspected)
