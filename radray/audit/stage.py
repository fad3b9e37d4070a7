"""The audit stage: what is wrong with the labels of an archive, as a ranked table and a page to review."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.audit import findings
from radray.audit.batches import draw_controls, entropy, teaching_order
from radray.audit.config import AuditConfig
from radray.audit.disagreement import name_sources, tabulate_disagreement
from radray.audit.duplicates import EXACT, Likeness, confirm_pairs, propose_pairs
from radray.audit.findings import Checked
from radray.audit.inputs import FACT_COLUMNS, AuditRows, load_rows, points
from radray.audit.label_errors import suspect_labels
from radray.audit.measure import load_truth, measure_queue, out_of_domain_auroc
from radray.audit.neighbours import Neighbours, find_neighbours, neighbour_votes
from radray.audit.outside import Outside, find_outside
from radray.audit.rounds import (
    FINDINGS_FILE,
    QUEUE_FILE,
    Judged,
    apply_outcomes,
    join_rounds,
    queue_facts,
    read_outcomes,
)
from radray.errors import Reason, Status
from radray.images.near_duplicates import find_equal_pairs
from radray.review.page import write_review_page

DISAGREEMENT_FILE = "disagreement.csv"
PAIRS_LOOKED_AT = 20_000
"""Most pairs of images whose fine detail is compared: three minutes."""
Indices = npt.NDArray[np.int64]


def run_audit(config: AuditConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: Tables that do not belong together, or verdicts on other images.
    """
    outcomes, read = read_outcomes(config.verdicts), load_rows(config)
    rows, judged = apply_outcomes(read, outcomes, config.seed)
    if gaps := int((~rows.embedded).sum()):
        print(
            f"audit: {gaps:,} images have no features: probe again to have them judged as the others", file=sys.stderr
        )
    space = points(rows)
    neighbours = find_neighbours(space, rows.patients, config.neighbours)
    checked = _check_labels(rows, judged, neighbours)
    suspicion = checked.suspicion
    suspected = suspicion.wrong_probability >= config.min_probability
    outside = find_outside(rows, space, judged.outside, config.far_share)
    copies = _with_copies(config.images)
    pairs, not_compared = _alike(config, rows, copies, neighbours)
    missing = np.flatnonzero((rows.labels < 0) & np.isfinite(rows.probabilities[:, 0]) & ~judged.seen)
    missing = missing[np.argsort(rows.probabilities[missing].max(axis=1), kind="stable")]
    far = np.flatnonzero(outside.is_outside & ~judged.seen)
    order = np.argsort(-suspicion.suspicion, kind="stable")
    controls = draw_controls(np.flatnonzero(~suspected), config.controls, config.seed)
    batch = _batch_to_learn(config, checked, np.setdiff1d(np.flatnonzero(~suspected), controls), space)
    found = pa.concat_tables(
        [
            findings.find_label_errors(rows, checked, order[suspected[order]]),
            findings.find_label_errors(rows, checked, batch, findings.TO_LEARN),
            findings.find_missing_labels(rows, missing),
            findings.find_out_of_domain(rows, far[np.argsort(-outside.score[far], kind="stable")], outside),
            findings.find_near_duplicates(copies, pairs),
            findings.find_label_errors(rows, checked, controls, findings.CONTROL),
        ]
    )
    found = join_rounds(config.output, found, outcomes)
    queue: dict[str, Any] = {"labelled": len(suspected), "suspected": int(suspected.sum()), "controls": len(controls)}
    queue |= {"min_probability": config.min_probability, "seed": config.seed, "bundle": rows.bundle}
    queue["verdicts_seen"] = int(judged.seen.sum())
    queue = queue_facts(config.output, outcomes, queue)
    storage.write_table(storage.join(config.output, FINDINGS_FILE), found)
    storage.write_json(storage.join(config.output, QUEUE_FILE), queue)
    sources = name_sources(_write_disagreement(config.output, rows, read.labels))
    for line in sources:
        print(f"audit: {line}", file=sys.stderr)
    bundle = storage.join(config.probe, "bundle") if config.heat_maps else None
    write_review_page(
        config.output,
        found,
        config.images,
        rows.titles,
        config.review_limit,
        bundle_url=bundle,
        seed=config.seed,
        labels_now=_changed_labels(rows, read),
    )
    summary: dict[str, Any] = {
        "rows_in": len(rows),
        "rows_out": found.num_rows,
        "by_issue": {issue: pc.sum(pc.equal(found["issue"], issue)).as_py() or 0 for issue in findings.ISSUES},
        "expected_wrong_labels": round(float(suspicion.wrong_probability.sum()), 1),
        "judged": int(judged.seen.sum()),
        "labels_put_right": judged.changed,
        "sources_to_mend": sources,
        "pairs_not_compared": not_compared,
        "without_features": gaps,
        "bundle": rows.bundle,
    }
    if config.truth is not None:
        summary |= _measure(config.truth, rows, checked, outside)
    return summary


def _changed_labels(rows: AuditRows, read: AuditRows) -> dict[int, str | None]:
    """Row id → label, where verdicts put another in place of the table's."""
    changed = np.flatnonzero(rows.labels != read.labels)
    row_ids = rows.facts["row_id"].to_numpy()
    return {int(row_ids[one]): rows.names[rows.labels[one]] if rows.labels[one] >= 0 else None for one in changed}


def _check_labels(rows: AuditRows, judged: Judged, neighbours: Neighbours) -> Checked:
    """Score every label that nobody has judged."""
    places = np.flatnonzero((rows.labels >= 0) & np.isfinite(rows.probabilities[:, 0]) & ~judged.seen)
    if not len(places):
        print(f"audit: none of the {len(rows):,} images has a label of the class list to be checked", file=sys.stderr)
    votes = neighbour_votes(neighbours, rows.labels, len(rows.names))
    return Checked(
        places=places,
        row_ids=rows.facts["row_id"].to_numpy(),
        suspicion=suspect_labels(rows.labels, rows.probabilities, votes, neighbours, places),
        neighbours=neighbours,
    )


def _batch_to_learn(config: AuditConfig, checked: Checked, among: Indices, space: npt.NDArray[np.float32]) -> Indices:
    """Which labels that nobody suspects are looked at to teach the heads, in what order; none unless asked for."""
    if config.next_batch != "learn":
        return among[:0]
    doubt = entropy(checked.suspicion.pooled[among])
    return among[teaching_order(space[checked.places[among]], doubt, config.review_limit)]


def _alike(
    config: AuditConfig, rows: AuditRows, copies: pa.Table, neighbours: Neighbours
) -> tuple[list[Likeness], int]:
    """Pairs of images that are one picture, as places among images and copies; and how many were not looked at."""
    equal = find_equal_pairs(copies["content_hash"].to_numpy(zero_copy_only=False))
    found = [Likeness(one, other, EXACT, 1.0) for one, other in zip(equal.first, equal.second, strict=True)]
    hashed = np.flatnonzero(pc.is_valid(rows.facts["perceptual_hash"]).to_numpy(zero_copy_only=False))
    hashes = rows.facts["perceptual_hash"].drop_null().to_numpy()
    row_ids = rows.facts["row_id"].to_numpy()
    proposed = propose_pairs(hashes, hashed, neighbours, config.near_duplicate_bits)
    near, left = confirm_pairs(proposed, row_ids, config.images, PAIRS_LOOKED_AT)
    if left:
        print(f"audit: {left:,} pairs of like images were not compared, the least alike ones", file=sys.stderr)
    places = pc.index_in(rows.facts["uri"], copies["uri"].combine_chunks()).to_numpy()
    return found + [
        pair._replace(first=int(places[pair.first]), second=int(places[pair.second])) for pair in near
    ], left


def _with_copies(images: str) -> pa.Table:
    """Facts of the usable images and of the exact copies that the clean stage set aside, sorted by `uri`."""
    wanted = (pc.field("status") == Status.OK.value) | (pc.field("reason") == Reason.EXACT_COPY.value)
    return storage.read_table(images, columns=FACT_COLUMNS, filter=wanted).sort_by("uri").combine_chunks()


def _write_disagreement(output: str, rows: AuditRows, labels: Indices) -> pa.Table:
    """Labels as the headers give them, whatever reviewers made of them since, against the model."""
    import pyarrow.csv as arrow_csv

    suggested = np.where(np.isfinite(rows.probabilities[:, 0]), rows.probabilities.argmax(axis=1), -1)
    sink = pa.BufferOutputStream()
    table = tabulate_disagreement(rows.facts, labels, suggested, rows.names)
    arrow_csv.write_csv(table, sink)
    storage.write_bytes(storage.join(output, DISAGREEMENT_FILE), sink.getvalue().to_pybytes())
    return table


def _measure(url: str, rows: AuditRows, checked: Checked, outside: Outside) -> dict[str, Any]:
    truth = load_truth(url)
    known = [truth.get(uri, {}) for uri in rows.facts["uri"].to_pylist()]
    regions = [known[place].get("region") for place in checked.places]
    judged = np.array([region is not None for region in regions])
    given = [rows.names[label] for label in rows.labels[checked.places]]
    wrong = np.array([label != region for label, region in zip(given, regions, strict=True)])
    kinds = np.array([str(row.get("kind")) for row in known])
    scored = np.isin(kinds, ("radiograph", "out_of_domain"))
    return {
        "label_errors": measure_queue(checked.suspicion.suspicion[judged], wrong[judged]),
        "out_of_domain_auroc": out_of_domain_auroc(outside.score[scored], kinds[scored] == "out_of_domain"),
    }
