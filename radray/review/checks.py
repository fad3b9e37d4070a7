"""The label checks of a review, and how right labels and model are by the verdicts on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from radray import storage
from radray.review.accuracy import Checked, accuracy_after_review
from radray.review.page import FOLDER, ITEMS_FILE
from radray.review.queue import CONTROL, LABEL_CHECK, SUSPECT, item_id, page_issue
from radray.review.verdicts import Verdict, settled_outcomes, standing_verdicts

FINDINGS_FILE = "findings.parquet"
COUNTS_FILE = "queue.json"
COLUMNS = ["uri", "row_id", "issue", "label", "suggested", "evidence"]


@dataclass(frozen=True, kw_only=True)
class LabelChecks:
    """What the audit drew for the review: suspects and controls in the order of the page."""

    found: pa.Table
    """The findings, `COLUMNS`."""
    order: list[str]
    """Ids of the page's label checks."""
    labelled: int
    """Images whose label the audit checked."""
    suspected: int
    """Of those, the suspected ones."""

    @classmethod
    def load(cls, findings_url: str) -> Self | None:
        """Read the audit's output; None where it drew no controls."""
        items, counts = storage.join(findings_url, FOLDER, ITEMS_FILE), storage.join(findings_url, COUNTS_FILE)
        if not storage.exists(items) or not storage.exists(counts):
            return None
        found = storage.read_table(storage.join(findings_url, FINDINGS_FILE), columns=COLUMNS)
        if CONTROL not in found["issue"].to_pylist():
            return None
        order = [item["id"] for item in storage.read_json(items)["items"] if item["issue"] == LABEL_CHECK]
        given = storage.read_json(counts)
        return cls(found=found, order=order, labelled=given["labelled"], suspected=given["suspected"])

    def outcomes(self, verdicts: Sequence[Verdict]) -> list[Checked]:
        """The label checks in the order of the page, with what came of each."""
        settled, seen = settled_outcomes(verdicts), {uri for uri, _ in standing_verdicts(verdicts)}
        rows = {
            item_id(row["row_id"]): row for row in self.found.to_pylist() if page_issue(row["issue"]) == LABEL_CHECK
        }
        return [
            Checked(
                suspected=row["issue"] == SUSPECT,
                label=row["label"],
                answer=(json.loads(row["evidence"]).get("top") or [[row["suggested"]]])[0][0],
                outcome=settled.get(row["uri"]),
                seen=row["uri"] in seen,
            )
            for row in (rows[one] for one in self.order if one in rows)
        ]

    def accuracy(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """See `accuracy_after_review`."""
        return accuracy_after_review(self.outcomes(verdicts), self.labelled, self.suspected)
