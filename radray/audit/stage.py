"""The audit stage: what is wrong with the labels of an archive, as a ranked table and a page to review."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.audit import findings
from radray.audit.config import AuditConfig
from radray.audit.disagreement import tabulate_disagreement
from radray.audit.inputs import FACT_COLUMNS, AuditRows, load_rows
from radray.audit.label_errors import Suspicion, suspect_labels
from radray.audit.measure import load_truth, measure_queue, out_of_domain_auroc
from radray.audit.neighbours import Neighbours, find_neighbours, neighbour_votes, unit_rows
from radray.errors import ConfigError, Reason, Status
from radray.review.page import write_review_page

FINDINGS_FILE = "findings.parquet"
DISAGREEMENT_FILE = "disagreement.csv"


def run_audit(config: AuditConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: Tables that do not belong together.
    """
    rows = load_rows(config)
    neighbours, votes = _votes(rows, config.neighbours)
    checked = np.flatnonzero((rows.labels >= 0) & np.isfinite(rows.probabilities[:, 0]))
    if not len(checked):
        raise ConfigError(f"--images {config.images}: no image has both a label of the class list and a prediction")
    suspicion = suspect_labels(rows.labels[checked], rows.probabilities[checked], votes[checked])
    outside = findings.out_of_domain_scores(rows)
    found = pa.concat_tables(
        [
            findings.find_label_errors(rows, checked, suspicion, neighbours, config.min_probability),
            findings.find_missing_labels(rows),
            findings.find_out_of_domain(rows, outside),
            findings.find_near_duplicates(_with_copies(config.images), config.near_duplicate_bits),
        ]
    )
    storage.write_table(storage.join(config.output, FINDINGS_FILE), found)
    _write_disagreement(config.output, rows)
    write_review_page(config.output, found, config.images, rows.titles, config.review_limit)
    summary: dict[str, Any] = {
        "rows_in": len(rows),
        "rows_out": found.num_rows,
        "by_issue": {issue: pc.sum(pc.equal(found["issue"], issue)).as_py() or 0 for issue in findings.ISSUES},
        "expected_wrong_labels": round(float(suspicion.wrong_probability.sum()), 1),
    }
    if config.truth is not None:
        summary |= _measure(config.truth, rows, checked, suspicion, outside)
    return summary


def _votes(rows: AuditRows, k: int) -> tuple[Neighbours | None, npt.NDArray[np.float64]]:
    """Neighbours of all rows and their label votes; without features the probabilities stand in for the votes."""
    if rows.features is None:
        return None, np.nan_to_num(rows.probabilities, nan=1 / len(rows.names))
    known = np.isfinite(rows.features).all(axis=1)
    among = find_neighbours(unit_rows(rows.features[known]), rows.patients[known], k)
    places = np.flatnonzero(known)
    shape = (len(rows), among.indices.shape[1])
    indices, similarities = np.full(shape, -1, np.int64), np.full(shape, -1, np.float32)
    indices[places] = np.where(among.indices >= 0, places[among.indices], -1)
    similarities[places] = among.similarities
    neighbours = Neighbours(indices, similarities)
    return neighbours, neighbour_votes(neighbours, rows.labels, len(rows.names))


def _with_copies(images: str) -> pa.Table:
    """Facts of the usable images and of the exact copies that the clean stage set aside, sorted by `uri`."""
    wanted = (pc.field("status") == Status.OK.value) | (pc.field("reason") == Reason.EXACT_COPY.value)
    return storage.read_table(images, columns=FACT_COLUMNS, filter=wanted).sort_by("uri").combine_chunks()


def _write_disagreement(output: str, rows: AuditRows) -> None:
    import pyarrow.csv as arrow_csv

    suggested = np.where(np.isfinite(rows.probabilities[:, 0]), rows.probabilities.argmax(axis=1), -1)
    sink = pa.BufferOutputStream()
    arrow_csv.write_csv(tabulate_disagreement(rows.facts, rows.labels, suggested, rows.names), sink)
    storage.write_bytes(storage.join(output, DISAGREEMENT_FILE), sink.getvalue().to_pybytes())


def _measure(
    url: str,
    rows: AuditRows,
    checked: npt.NDArray[np.int64],
    suspicion: Suspicion,
    outside: npt.NDArray[np.float64],
) -> dict[str, Any]:
    truth = load_truth(url)
    known = [truth.get(uri, {}) for uri in rows.facts["uri"].to_pylist()]
    regions = [known[place].get("region") for place in checked]
    judged = np.array([region is not None for region in regions])
    wrong = np.array([rows.names[rows.labels[place]] != region for place, region in zip(checked, regions, strict=True)])
    kinds = np.array([str(row.get("kind")) for row in known])
    scored = np.isfinite(outside) & np.isin(kinds, ("radiograph", "out_of_domain"))
    return {
        "label_errors": measure_queue(suspicion.suspicion[judged], wrong[judged]),
        "out_of_domain_auroc": out_of_domain_auroc(outside[scored], kinds[scored] == "out_of_domain"),
    }
