"""The tables that the probe writes beside features and bundle, for the small archive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.probe.figures import write_csv
from tests.audit.small_archive import REGIONS


def add_probe_tables(archive) -> None:
    images = storage.read_table(archive.images, filter=pc.field("status") == "ok").sort_by("uri").to_pylist()
    folds = storage.read_table(storage.join(archive.probe, "out_of_fold.parquet")).sort_by("uri").to_pylist()
    names = REGIONS.names
    probabilities = np.array([row["probabilities"] for row in folds])
    best = [names[each] for each in probabilities.argmax(axis=1)]
    test = [place for place, row in enumerate(images) if row["split"] == "test"]
    write_csv(
        storage.join(archive.probe, "accuracy.csv"),
        [
            {
                "method": method,
                "budget": budget,
                "seed": seed,
                "against": "label",
                "images": len(test),
                "accuracy": accuracy,
                "accuracy_low": accuracy - 0.02,
                "accuracy_high": accuracy + 0.02,
                "balanced_accuracy": accuracy,
                "macro_f1": accuracy,
                "calibration_error": 0.03,
                "calibration_error_debiased": 0.02,
            }
            for method, top in (("ensemble", 0.95), ("simclr", 0.93), ("supervised", 0.8))
            for budget, accuracy in (("5", top - 0.2), ("10%", top - 0.1), ("all", top))
            for seed in (0, 1)
        ],
    )
    write_csv(
        storage.join(archive.probe, "comparison.csv"),
        [
            {
                "method": "simclr",
                "against": "label",
                "images": 90,
                "ensemble_less_method": 0.02,
                "low": -0.01,
                "high": 0.05,
            },
            {
                "method": "supervised",
                "against": "label",
                "images": 90,
                "ensemble_less_method": 0.15,
                "low": 0.1,
                "high": 0.2,
            },
        ],
    )
    write_csv(
        storage.join(archive.probe, "subgroups.csv"),
        [
            {
                "fact": fact,
                "value": value,
                "against": "label",
                "images": 40,
                "accuracy": 0.9,
                "accuracy_low": 0.8,
                "accuracy_high": 0.97,
            }
            for fact, value in (("sex", "F"), ("sex", "M"), ("age_decade", "70"), ("station", "007"))
        ],
    )
    pairs = [(images[place]["label"], best[place]) for place in test if images[place]["label"]]
    write_csv(
        storage.join(archive.probe, "confusion.csv"),
        [
            {"method": "ensemble", "against": "label", "label": a, "predicted": b, "images": pairs.count((a, b))}
            for a, b in sorted(set(pairs))
        ],
    )
    write_csv(
        storage.join(archive.probe, "per_region.csv"),
        [
            {
                "method": "ensemble",
                "against": "label",
                "region": name,
                "images": sum(label == name for label, _ in pairs),
                "predicted": sum(predicted == name for _, predicted in pairs),
                "recall": 0.9,
                "precision": float("nan") if name == "skull" else 0.8,
            }
            for name in names
        ],
    )
    table = {
        **{key: [images[place][key] for place in test] for key in ("uri", "row_id", "label")},
        "method": ["ensemble"] * len(test),
        "truth": pa.nulls(len(test), pa.string()),
        "region": [best[place] for place in test],
        "confidence": probabilities.max(axis=1)[test],
        "abstained": probabilities.max(axis=1)[test] < 0.5,
    }
    storage.write_table(storage.join(archive.probe, "test_predictions.parquet"), pa.table(table))
