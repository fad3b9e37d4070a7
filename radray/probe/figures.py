"""The tables of a probe: accuracy over budgets, confusion, figures by region, test predictions."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv
from torch import Tensor

from radray import storage
from radray.ensemble import Predictions
from radray.images.split import TEST
from radray.probe import metrics
from radray.probe.cohort import Cohort
from radray.probe.config import SUBGROUP_IMAGES

FloatArray = npt.NDArray[np.float32]
LABEL, TRUTH = "label", "truth"


def references(cohort: Cohort) -> dict[str, npt.NDArray[np.int64]]:
    """What figures are measured against: the labels of the archive, and the truth where it is known."""
    found = {LABEL: cohort.labels.numpy()}
    return found if cohort.truth is None else {**found, TRUTH: cohort.truth}


def measure(cohort: Cohort, method: str, budget: str, seed: int, probabilities: Tensor) -> list[dict[str, Any]]:
    """Rows of accuracy.csv: figures of one method on the test split.

    Args:
        cohort: Labels, truth, patients.
        method: simclr … or ensemble.
        budget: Labels it had.
        seed: Their draw.
        probabilities: Float32[n, classes], of all images of the cohort.
    """
    rows = []
    for against, reference in references(cohort).items():
        chosen = np.flatnonzero((cohort.split == TEST) & (reference >= 0))
        own, labels = probabilities.numpy()[chosen], reference[chosen]
        predicted = own.argmax(axis=1)
        matrix = metrics.confusion_matrix(labels, predicted, len(cohort.names))
        low, high = metrics.patient_interval(predicted == labels, [cohort.patients[index] for index in chosen])
        rows.append(
            {
                "method": method,
                "budget": budget,
                "seed": seed,
                "against": against,
                "images": len(chosen),
                "accuracy": metrics.accuracy_score(matrix),
                "accuracy_low": low,
                "accuracy_high": high,
                "balanced_accuracy": metrics.balanced_accuracy_score(matrix),
                "macro_f1": metrics.macro_f1_score(matrix),
                "calibration_error": metrics.calibration_error(own, labels),
                "calibration_error_debiased": metrics.debiased_calibration_error(own, labels),
            }
        )
    return rows


def compare(cohort: Cohort, full: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Rows of comparison.csv: the ensemble's accuracy less each method's on the same test images, with its interval.

    Args:
        cohort: Labels, truth, patients.
        full: Method → Float32[n, classes], `ensemble` among them.
    """
    rows = []
    for against, reference in references(cohort).items():
        chosen = np.flatnonzero((cohort.split == TEST) & (reference >= 0))
        patients = [cohort.patients[index] for index in chosen]
        right = {
            method: (own.numpy()[chosen].argmax(axis=1) == reference[chosen]).astype(np.int64)
            for method, own in full.items()
        }
        for method, own in right.items():
            if method != "ensemble":
                difference = right["ensemble"] - own
                low, high = metrics.patient_interval(difference, patients)
                rows.append(
                    {
                        "method": method,
                        "against": against,
                        "images": len(chosen),
                        "ensemble_less_method": float(difference.mean()) if len(chosen) else float("nan"),
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def trust(cohort: Cohort, predictions: Predictions) -> dict[str, dict[str, float]]:
    """How far the ensemble can be trusted on the test split, against labels and truth.

    Args:
        cohort: Labels, truth, patients.
        predictions: Of the test split's images, in order.
    """
    test = cohort.rows(TEST, labelled=False).numpy()
    found = {}
    for against, reference in references(cohort).items():
        judged = reference[test] >= 0
        rows = test[judged]
        own, labels, answered = predictions.probabilities[judged], reference[rows], ~predictions.abstained[judged]
        wrong = own.argmax(axis=1) != labels
        low, high = metrics.calibration_interval(own, labels, [cohort.patients[index] for index in rows])
        found[against] = {
            "images": len(rows),
            "calibration_error_debiased": round(metrics.debiased_calibration_error(own, labels), 4),
            "calibration_error_low": round(low, 4),
            "calibration_error_high": round(high, 4),
            "error": round(float(wrong.mean()), 4) if len(wrong) else float("nan"),
            "answered": round(float(answered.mean()), 4) if len(wrong) else float("nan"),
            "error_of_answered": round(float(wrong[answered].mean()), 4) if answered.any() else float("nan"),
        }
    return found


SUBGROUPS = ("sex", "age_decade", "manufacturer", "station")
"""Facts of the header that accuracy is broken down by."""


def by_subgroup(cohort: Cohort, probabilities: Tensor) -> list[dict[str, Any]]:
    """Rows of subgroups.csv: the ensemble's accuracy by what the header says of patient and device.

    Args:
        cohort: Facts, labels, truth, patients.
        probabilities: Float32[n, classes].
    """
    rows = []
    predicted = probabilities.argmax(dim=1).numpy()
    for against, reference in references(cohort).items():
        judged = (cohort.split == TEST) & (reference >= 0)
        for fact in SUBGROUPS:
            values = np.array([_text(value) for value in cohort.facts[fact].to_pylist()], object)
            for value in sorted(set(values[judged])):
                chosen = np.flatnonzero(judged & (values == value))
                if len(chosen) < SUBGROUP_IMAGES:
                    continue
                right = predicted[chosen] == reference[chosen]
                low, high = metrics.patient_interval(right, [cohort.patients[index] for index in chosen])
                accuracy = float(right.mean())
                row = {"fact": fact, "value": value, "against": against, "images": len(chosen)}
                rows.append({**row, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high})
    return rows


def _text(value: Any) -> str:
    return "not stated" if value is None else str(value)


def by_region(cohort: Cohort, method: str, probabilities: Tensor) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of per_region.csv and confusion.csv of one method with all labels."""
    regions: list[dict[str, Any]] = []
    confusions: list[dict[str, Any]] = []
    predicted = probabilities.argmax(dim=1).numpy()
    for against, reference in references(cohort).items():
        chosen = np.flatnonzero((cohort.split == TEST) & (reference >= 0))
        matrix = metrics.confusion_matrix(reference[chosen], predicted[chosen], len(cohort.names))
        recalls, precisions = metrics.recall_scores(matrix), metrics.precision_scores(matrix)
        for index, name in enumerate(cohort.names):
            regions.append(
                {
                    "method": method,
                    "against": against,
                    "region": name,
                    "images": int(matrix[index].sum()),
                    "predicted": int(matrix[:, index].sum()),
                    "recall": float(recalls[index]),
                    "precision": float(precisions[index]),
                }
            )
            confusions += [
                {"method": method, "against": against, "label": name, "predicted": other, "images": int(count)}
                for other, count in zip(cohort.names, matrix[index], strict=True)
                if count
            ]
    return regions, confusions


def mean_accuracy(rows: Iterable[Mapping[str, Any]], against: str) -> dict[str, dict[str, float]]:
    """Method → budget → accuracy on the test split, mean over the seeds."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["against"] == against:
            values[row["method"]][row["budget"]].append(row["accuracy"])
    return {
        method: {budget: round(float(np.mean(own)), 4) for budget, own in budgets.items()}
        for method, budgets in values.items()
    }


def write_csv(url: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with a header; without rows no file is left."""
    if not rows:
        storage.remove(url)
        return
    sink = io.BytesIO()
    csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), sink)
    storage.write_bytes(url, sink.getvalue())


def probability_table(cohort: Cohort, rows: npt.NDArray[np.int64], method: str, probabilities: FloatArray) -> pa.Table:
    """uri, row_id, method, probabilities (fixed-size list in class order) of some images.

    Args:
        cohort: Gives the keys.
        rows: Int64[m], indices.
        method: Name.
        probabilities: Float32[m, classes].
    """
    facts = cohort.facts.take(rows)
    flat = pa.array(np.ascontiguousarray(probabilities, np.float32).reshape(-1))
    return pa.table(
        {
            "uri": facts["uri"],
            "row_id": facts["row_id"],
            "method": pa.array([method] * len(rows), pa.string()),
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(cohort.names)),
        }
    )


def region_names(cohort: Cohort, indices: npt.NDArray[np.int64]) -> pa.Array:
    """Names of class numbers, null for −1."""
    return pa.array([cohort.names[index] if index >= 0 else None for index in indices], pa.string())
