"""Rounds of review: verdicts put labels right, and what was found before stays beside what is found now."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.audit.findings import CHECKS, CONTROL, FINDINGS_SCHEMA, NEAR_DUPLICATE
from radray.audit.inputs import AuditRows
from radray.audit.judging import judge
from radray.errors import ConfigError
from radray.review.verdicts import OUTSIDE, parse_verdicts, settled_outcomes

FINDINGS_FILE = "findings.parquet"
QUEUE_FILE = "queue.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """What the reviewers agreed on, among n images."""

    seen: npt.NDArray[np.bool_]
    """Bool [n]: an image that has a verdict; it leaves the queue."""
    outside: npt.NDArray[np.bool_]
    """Bool [n]: found to show none of the regions."""
    changed: int
    """Labels that were put right."""


def read_outcomes(url: str | None) -> dict[str, str]:
    """What the reviewers agree on, by `uri`: a region or `OUTSIDE`; nothing without a file."""
    return settled_outcomes(parse_verdicts(storage.read_bytes(url), url)) if url else {}


def apply_outcomes(rows: AuditRows, outcomes: dict[str, str], seed: int) -> tuple[AuditRows, Judged]:
    """The images with the labels that the verdicts leave, and what heads fitted to those say of them.

    Args:
        rows: As read.
        outcomes: By `uri`.
        seed: Of the folds.

    Raises:
        ConfigError: No verdict is about these images, or one names a region that is no class.
    """
    labels, seen, outside = rows.labels.copy(), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for place, uri in enumerate(rows.facts["uri"].to_pylist()):
        outcome = outcomes.get(uri)
        if outcome is None:
            continue
        seen[place] = True
        if outcome == OUTSIDE:
            labels[place], outside[place] = -1, True
        elif outcome in rows.names:
            labels[place] = rows.names.index(outcome)
        else:
            raise ConfigError(f"--verdicts: region {outcome!r} is no class of the bundle; correct that line")
    if outcomes and not seen.any():
        raise ConfigError("--verdicts: none of them is about an image of --images; give the file of this archive")
    changed = int((labels != rows.labels).sum())
    now = dataclasses.replace(rows, labels=labels, probabilities=judge(rows, labels, seed))
    return now, Judged(seen=seen, outside=outside, changed=changed)


def join_rounds(output: str, found: pa.Table, outcomes: dict[str, str]) -> pa.Table:
    """What an audit found, with what stays of the rounds before: all label checks that were ever shown, and the judged.

    The first round's suspects and controls are the sample from which accuracy is estimated: each stays, with the
    score that it was chosen by, also where it is suspected no longer.

    Args:
        output: Folder that may hold the findings of the last round.
        found: Findings of now.
        outcomes: By `uri`; none begins anew.

    Returns:
        Rows of `FINDINGS_SCHEMA`; ranks of old rows come after the new ones'.
    """
    place = storage.join(output, FINDINGS_FILE)
    if not outcomes or not storage.exists(place):
        return found
    before = storage.read_table(place)
    number = (pc.max(before["round"]).as_py() or 0) + 1
    old = {(row["uri"], row["issue"]): row for row in before.to_pylist()}
    checks = {row["uri"]: row for row in old.values() if row["issue"] in CHECKS}
    rows = []
    for row in found.to_pylist():
        check = checks.get(row["uri"]) if row["issue"] in CHECKS else None
        if row["issue"] == CONTROL or (check is not None and check["issue"] != row["issue"]):
            continue  # Controls were drawn once; what is a check already stays the check that it was.
        first = old.get((row["uri"], row["issue"]))
        if first is None:
            rows.append(row | {"round": number})
        else:
            rows.append(row | {"round": first["round"]} | ({"score": first["score"]} if check else {}))
    now = {(row["uri"], row["issue"]) for row in rows}
    for key, row in old.items():
        judged = row["uri"] in outcomes and row["issue"] != NEAR_DUPLICATE
        if key not in now and (row["issue"] in CHECKS or judged):
            rows.append(row)
    return _rank(pa.Table.from_pylist(rows, schema=FINDINGS_SCHEMA))


def queue_facts(output: str, outcomes: dict[str, str], facts: dict[str, Any]) -> dict[str, Any]:
    """What queue.json says: of the first round, for that is what the controls were drawn from."""
    place = storage.join(output, QUEUE_FILE)
    if not outcomes or not storage.exists(place):
        return facts
    known: dict[str, Any] = storage.read_json(place)
    return known


def _rank(found: pa.Table) -> pa.Table:
    """Ranks from 1 within each issue, in the order of the rows."""
    counts: dict[str, int] = {}
    ranks = []
    for issue in found["issue"].to_pylist():
        counts[issue] = counts.get(issue, 0) + 1
        ranks.append(counts[issue])
    return found.set_column(found.schema.get_field_index("rank"), "rank", pa.array(ranks, pa.int32())).cast(
        FINDINGS_SCHEMA
    )
