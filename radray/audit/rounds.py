"""Rounds of review: verdicts put labels right, and what was found before stays beside what is found now."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.audit.findings import CONTROL, FINDINGS_SCHEMA, NEAR_DUPLICATE
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
    """The images with the labels that the verdicts leave, and what heads fitted to those say.

    Args:
        rows: As read.
        outcomes: By `uri`.
        seed: Of the folds.

    Raises:
        ConfigError: No verdict is about these images, or one names a region that is no class.
    """
    nothing = np.zeros(len(rows), bool)
    if not outcomes:
        return rows, Judged(seen=nothing, outside=nothing, changed=0)
    labels, seen, outside = rows.labels.copy(), nothing.copy(), nothing.copy()
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
    if not seen.any():
        raise ConfigError("--verdicts: none of them is about an image of --images; give the file of this archive")
    changed = int((labels != rows.labels).sum())
    probabilities = judge(rows.judges, labels, rows.patients, len(rows.names), rows.balance, seed)
    now = dataclasses.replace(rows, labels=labels, probabilities=probabilities)
    return now, Judged(seen=seen, outside=outside, changed=changed)


def join_rounds(output: str, found: pa.Table, outcomes: dict[str, str]) -> pa.Table:
    """What an audit found, with what stays of the rounds before: judged findings, and all controls.

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
    known = pa.array(list(outcomes), pa.string())
    control = pc.equal(before["issue"], CONTROL)
    stays = pc.or_(control, pc.and_(pc.is_in(before["uri"], known), pc.not_equal(before["issue"], NEAR_DUPLICATE)))
    kept = before.filter(stays)
    shown = pc.and_(pc.is_in(found["uri"], kept["uri"].combine_chunks()), pc.not_equal(found["issue"], NEAR_DUPLICATE))
    fresh = found.filter(pc.and_(pc.invert(shown), pc.not_equal(found["issue"], CONTROL)))
    # A finding of an earlier round that is still one was found then.
    first = dict(zip(_keys(before), before["round"].to_pylist(), strict=True))
    rounds = pa.array([first.get(key, number) for key in _keys(fresh)], pa.int32())
    fresh = fresh.set_column(fresh.schema.get_field_index("round"), "round", rounds)
    return _rank(pa.concat_tables([fresh, kept]))


def queue_facts(output: str, outcomes: dict[str, str], facts: dict[str, Any]) -> dict[str, Any]:
    """What queue.json says: of the first round, for that is what the controls were drawn from."""
    place = storage.join(output, QUEUE_FILE)
    if not outcomes or not storage.exists(place):
        return facts
    known: dict[str, Any] = storage.read_json(place)
    return known


def _keys(found: pa.Table) -> list[tuple[str, str]]:
    return list(zip(found["uri"].to_pylist(), found["issue"].to_pylist(), strict=True))


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
