"""The findings table: what is suspicious, why, and what is suggested instead. One function an issue."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray.audit.inputs import AuditRows
from radray.audit.label_errors import Suspicion
from radray.audit.neighbours import Neighbours
from radray.images.near_duplicates import HASH_BITS, find_equal_pairs, find_near_pairs

LABEL_ERROR = "label_error"
MISSING_LABEL = "missing_label"
OUT_OF_DOMAIN = "out_of_domain"
NEAR_DUPLICATE = "near_duplicate"
ISSUES = (LABEL_ERROR, MISSING_LABEL, OUT_OF_DOMAIN, NEAR_DUPLICATE)

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
    ]
)
"""`findings/`: one row a suspicion. `score` lies in [0, 1], higher is more suspicious; `rank` counts from 1 within an
issue; `suggested` is a region or null, `confidence` its probability; `evidence` is a short JSON object."""

_SHOWN_NEIGHBOURS = 4


def find_label_errors(
    rows: AuditRows,
    checked: npt.NDArray[np.int64],
    suspicion: Suspicion,
    neighbours: Neighbours | None,
    min_probability: float,
) -> pa.Table:
    """Labels that are wrong with at least `min_probability` and for which another class is at hand.

    Args:
        rows: All radiographs.
        checked: Int64 [m], places of the labelled rows that `suspicion` is about.
        suspicion: Scores of those.
        neighbours: Of all rows, None without features.
        min_probability: 0 to 1.
    """
    found = []
    order = np.lexsort((-suspicion.suspicion, -suspicion.wrong_probability))
    for one in order[suspicion.wrong_probability[order] >= min_probability]:
        place, pooled = int(checked[one]), suspicion.pooled[one]
        others = pooled.copy()
        others[rows.labels[place]] = -1
        evidence: dict[str, Any] = {
            "top": _top(rows, pooled),
            "self_doubt": _short(suspicion.self_doubt[one]),
            "margin": _short(suspicion.margin[one]),
            "neighbour_disagreement": _short(suspicion.neighbour_disagreement[one]),
        }
        if neighbours is not None:
            near = [int(each) for each in neighbours.indices[place, :_SHOWN_NEIGHBOURS] if each >= 0]
            evidence["neighbours"] = [rows.facts["row_id"][each].as_py() for each in near]
        best = int(others.argmax())
        score = float(suspicion.wrong_probability[one])
        found.append(_row(rows, place, LABEL_ERROR, score, rows.names[best], float(pooled[best]), evidence))
    return _table(found)


def find_missing_labels(rows: AuditRows) -> pa.Table:
    """Images without a usable label, filled with the ensemble's region; the least certain first."""
    missing = np.flatnonzero((rows.labels < 0) & np.isfinite(rows.probabilities[:, 0]))
    confidence = rows.probabilities[missing].max(axis=1)
    found = []
    for one in np.argsort(confidence, kind="stable"):
        place, sure = int(missing[one]), float(np.clip(confidence[one], 0, 1))
        suggested = rows.names[int(rows.probabilities[place].argmax())]
        evidence = {"top": _top(rows, rows.probabilities[place])}
        found.append(_row(rows, place, MISSING_LABEL, 1 - sure, suggested, sure, evidence))
    return _table(found)


def out_of_domain_scores(rows: AuditRows) -> npt.NDArray[np.float64]:
    """1 − (1 − outlier score) · largest probability: float64 [n] in [0, 1], NaN without a prediction.

    Far from the training images, or like none of the regions: either is enough.
    """
    sure = np.clip(rows.probabilities.max(axis=1), 0, 1)
    return np.asarray(1 - (1 - np.clip(rows.ood_score, 0, 1)) * sure, np.float64)


def find_out_of_domain(rows: AuditRows, scores: npt.NDArray[np.float64]) -> pa.Table:
    """Images beyond the bundle's operating point on the out-of-domain score, the furthest first."""
    beyond = np.flatnonzero(rows.ood_score > rows.ood_threshold)
    found = []
    for place in beyond[np.argsort(-scores[beyond], kind="stable")]:
        sure = float(np.clip(rows.probabilities[place].max(), 0, 1))
        evidence = {"ood_score": _short(rows.ood_score[place]), "top": _top(rows, rows.probabilities[place])}
        suggested = rows.names[int(rows.probabilities[place].argmax())]
        found.append(_row(rows, int(place), OUT_OF_DOMAIN, float(scores[place]), suggested, sure, evidence))
    return _table(found)


def find_near_duplicates(facts: pa.Table, max_bits: int) -> pa.Table:
    """Images that look like one before them (by `uri`): equal pixels, or hashes within `max_bits` bits.

    Pairs across patients come first: the same picture under two identities is a possible mix-up.

    Args:
        facts: uri, row_id, label, patient, station, content_hash and perceptual_hash, sorted by `uri`; copies that
            were set aside may be among them.
        max_bits: 0 to 8.
    """
    equal = find_equal_pairs(facts["content_hash"].to_numpy(zero_copy_only=False))
    hashed = np.flatnonzero(pc.is_valid(facts["perceptual_hash"]).to_numpy(zero_copy_only=False))
    near = find_near_pairs(facts["perceptual_hash"].drop_null().to_numpy(), max_bits)
    first = np.concatenate([equal.first, hashed[near.first]])
    second = np.concatenate([equal.second, hashed[near.second]])
    # Equal pixels come before an equal look.
    distance = np.concatenate([equal.distance - 1, near.distance])
    patients = facts["patient"].to_pylist()
    best: dict[int, tuple[bool, int, int]] = {}
    for one, other, bits in zip(first.tolist(), second.tolist(), distance.tolist(), strict=True):
        across = None not in (patients[one], patients[other]) and patients[one] != patients[other]
        known = best.get(other, (False, HASH_BITS, -1))
        closest = (bits, one) if bits < known[1] else known[1:]
        best[other] = (across or known[0], *closest)
    found = []
    for place, (across, bits, twin) in sorted(best.items(), key=lambda item: (not item[1][0], item[1][1], item[0])):
        likeness = 1 - max(bits, 0) / (2 * (max_bits + 1))
        evidence = {
            "of": facts["row_id"][twin].as_py(),
            "bits": max(bits, 0),
            "equal_pixels": bits < 0,
            "across_patients": across,
            "label_of": facts["label"][twin].as_py(),
        }
        score = (1 + likeness) / 2 if across else likeness / 2
        row = _finding(facts.slice(place, 1).to_pylist()[0], NEAR_DUPLICATE, score)
        found.append(row | {"evidence": json.dumps(evidence)})
    return _table(found)


def _short(value: float) -> float:
    return round(float(value), 4)


def _top(rows: AuditRows, probabilities: npt.NDArray[np.float64]) -> list[list[Any]]:
    return [[rows.names[int(one)], _short(probabilities[one])] for one in np.argsort(-probabilities, kind="stable")[:3]]


def _row(
    rows: AuditRows, place: int, issue: str, score: float, suggested: str, confidence: float, evidence: dict[str, Any]
) -> dict[str, Any]:
    facts = rows.facts.slice(place, 1).to_pylist()[0]
    return _finding(facts, issue, score) | {
        "suggested": suggested,
        "confidence": float(np.clip(confidence, 0, 1)),
        "evidence": json.dumps(evidence),
    }


def _finding(facts: dict[str, Any], issue: str, score: float) -> dict[str, Any]:
    kept = {name: facts[name] for name in ("uri", "row_id", "label", "patient", "station")}
    return kept | {"issue": issue, "score": float(np.clip(score, 0, 1)), "suggested": None, "confidence": None}


def _table(found: list[dict[str, Any]]) -> pa.Table:
    """Findings of one issue, given in the order of their rank."""
    return pa.Table.from_pylist([row | {"rank": place} for place, row in enumerate(found, 1)], schema=FINDINGS_SCHEMA)
