"""The findings table: what is suspicious, why, and what is suggested instead. One function an issue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from radray.audit.duplicates import EXACT, Likeness
from radray.audit.inputs import AuditRows
from radray.audit.label_errors import Suspicion
from radray.audit.neighbours import Neighbours
from radray.audit.outside import Outside

LABEL_ERROR = "label_error"
MISSING_LABEL = "missing_label"
OUT_OF_DOMAIN = "out_of_domain"
NEAR_DUPLICATE = "near_duplicate"
CONTROL = "control"
"""A label that is not suspected, drawn at random and shown among the suspected ones."""
TO_LEARN = "to_learn"
"""A label that is not suspected, chosen because an answer would teach the heads most."""
CHECKS = (LABEL_ERROR, TO_LEARN, CONTROL)
"""Issues that ask whether a label is right; a page must not tell them apart."""
ISSUES = (LABEL_ERROR, TO_LEARN, MISSING_LABEL, OUT_OF_DOMAIN, NEAR_DUPLICATE, CONTROL)

FINDINGS_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("row_id", pa.int64()),
        ("issue", pa.string()),
        ("score", pa.float64()),
        ("rank", pa.int32()),
        ("label", pa.string()),
        ("suggested", pa.string()),
        ("confidence", pa.float64()),
        ("evidence", pa.string()),
        ("patient", pa.string()),
        ("station", pa.string()),
        ("round", pa.int32()),
    ]
)
"""`findings/`: one row a suspicion. `score` lies in [0, 1], higher is more suspicious; `rank` counts from 1 within an
issue; `suggested` is a region or null, `confidence` its probability; `evidence` is a short JSON object; `round` is 0
for what the first audit found, 1 for what the next one did after verdicts, and so on; label checks keep the score that
they were chosen by."""

_SHOWN_NEIGHBOURS = 4
_KEPT = ["uri", "row_id", "label", "patient", "station"]
Indices = npt.NDArray[np.int64]


class Checked(NamedTuple):
    """Labels that were checked: m of n images."""

    places: Indices
    """Int64 [m], where they stand among all."""
    row_ids: Indices
    """Int64 [n], keys of all images."""
    suspicion: Suspicion
    """Scores of the m."""
    neighbours: Neighbours
    """Of all n images."""


def find_label_errors(rows: AuditRows, checked: Checked, order: Indices, issue: str = LABEL_ERROR) -> pa.Table:
    """Labels to look at, with what speaks against them.

    Args:
        rows: All radiographs.
        checked: Labels with their scores.
        order: Int64 [m], which of them, in the order of their rank.
        issue: `LABEL_ERROR`, or `CONTROL`.
    """
    suspicion, facts = checked.suspicion, _facts(rows, checked.places[order])
    found = []
    for one, own in zip(order.tolist(), facts, strict=True):
        place, pooled = int(checked.places[one]), suspicion.pooled[one]
        others = pooled.copy()
        others[rows.labels[place]] = -1
        best = int(others.argmax())
        near = [int(each) for each in checked.neighbours.indices[place, :_SHOWN_NEIGHBOURS] if each >= 0]
        evidence: dict[str, Any] = {
            "top": _top(rows, pooled),
            "answer": rows.names[int(rows.probabilities[place].argmax())],
            "self_doubt": _short(suspicion.self_doubt[one]),
            "margin": _short(suspicion.margin[one]),
            "neighbour_disagreement": _short(suspicion.neighbour_disagreement[one]),
            "distance": _short(suspicion.distance[one]),
            "neighbours": checked.row_ids[near].tolist(),
        }
        score = float(suspicion.wrong_probability[one])
        found.append(_row(own, issue, score, rows.names[best], float(pooled[best]), evidence))
    return _table(found)


def find_missing_labels(rows: AuditRows, places: Indices) -> pa.Table:
    """Images without a usable label, filled with the ensemble's region.

    Args:
        rows: All radiographs.
        places: Int64 [m], which of them, in the order of their rank.
    """
    found = []
    for place, own in zip(places.tolist(), _facts(rows, places), strict=True):
        probabilities = rows.probabilities[place]
        sure = float(np.clip(probabilities.max(), 0, 1))
        suggested = rows.names[int(probabilities.argmax())]
        found.append(_row(own, MISSING_LABEL, 1 - sure, suggested, sure, {"top": _top(rows, probabilities)}))
    return _table(found)


def find_out_of_domain(rows: AuditRows, places: Indices, outside: Outside) -> pa.Table:
    """Images that show none of the regions, or several.

    Args:
        rows: All radiographs.
        places: Int64 [m], which of them, in the order of their rank.
        outside: How far out each image lies.
    """
    found = []
    for place, own in zip(places.tolist(), _facts(rows, places), strict=True):
        probabilities = np.nan_to_num(rows.probabilities[place])
        evidence: dict[str, Any] = {name: _short(score[place]) for name, score in outside.witnesses.items()}
        evidence |= {"ood_score": _short(outside.score[place]), "kind": outside.kind(place)}
        evidence |= {"top": _top(rows, probabilities)}
        sure, suggested = float(np.clip(probabilities.max(), 0, 1)), rows.names[int(probabilities.argmax())]
        found.append(_row(own, OUT_OF_DOMAIN, float(outside.score[place]), suggested, sure, evidence))
    return _table(found)


def find_near_duplicates(facts: pa.Table, pairs: Sequence[Likeness]) -> pa.Table:
    """The later image (by `uri`) of every pair that is one picture, and which it is like.

    Pairs across patients come first: the same picture under two identities is a possible mix-up.

    Args:
        facts: uri, row_id, label, patient, station, sorted by `uri`; copies that were set aside may be among them.
        pairs: Places in `facts`.
    """
    patients = facts["patient"].to_pylist()
    best: dict[int, tuple[bool, Likeness]] = {}
    for pair in pairs:
        one, other = patients[pair.first], patients[pair.second]
        across = None not in (one, other) and one != other
        known = best.get(pair.second)
        closest = pair if known is None or pair.detail > known[1].detail else known[1]
        best[pair.second] = (across or (known is not None and known[0]), closest)
    found = []
    for place, (across, pair) in sorted(best.items(), key=lambda item: (not item[1][0], -item[1][1].detail, item[0])):
        twin = facts.slice(pair.first, 1).to_pylist()[0]
        likeness = float(np.clip(pair.detail, 0, 1))
        evidence = {
            "of": twin["row_id"],
            "kind": pair.kind,
            "detail": _short(likeness),
            "equal_pixels": pair.kind == EXACT,
            "across_patients": across,
            "label_of": twin["label"],
        }
        row = _finding(facts.slice(place, 1).to_pylist()[0], NEAR_DUPLICATE, (across + likeness) / 2)
        found.append(row | {"evidence": json.dumps(evidence)})
    return _table(found)


def _short(value: float) -> float:
    return round(float(value), 4)


def _top(rows: AuditRows, probabilities: npt.NDArray[np.float64]) -> list[list[Any]]:
    return [[rows.names[int(one)], _short(probabilities[one])] for one in np.argsort(-probabilities, kind="stable")[:3]]


def _facts(rows: AuditRows, places: Indices) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = rows.facts.select(_KEPT).take(pa.array(places, pa.int64())).to_pylist()
    return facts


def _row(
    facts: dict[str, Any], issue: str, score: float, suggested: str, confidence: float, evidence: dict[str, Any]
) -> dict[str, Any]:
    return _finding(facts, issue, score) | {
        "suggested": suggested,
        "confidence": float(np.clip(confidence, 0, 1)),
        "evidence": json.dumps(evidence),
    }


def _finding(facts: dict[str, Any], issue: str, score: float) -> dict[str, Any]:
    return {name: facts[name] for name in _KEPT} | {
        "issue": issue,
        "score": float(np.clip(score, 0, 1)),
        "suggested": None,
        "confidence": None,
    }


def _table(found: list[dict[str, Any]]) -> pa.Table:
    """Findings of one issue, given in the order of their rank."""
    return pa.Table.from_pylist(
        [row | {"rank": place, "round": 0} for place, row in enumerate(found, 1)], schema=FINDINGS_SCHEMA
    )
