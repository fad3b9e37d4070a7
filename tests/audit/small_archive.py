"""A small archive as tables: what the stages before the audit would have left, with known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from radray import storage, tables
from radray.images.hashing import perceptual_hash
from radray.probe.embedding import MEMBERS_FILE
from radray.regions import load_regions

REGIONS = load_regions("skeletal14")
SIDE_PX = 32


class SmallArchive(NamedTuple):
    """URLs of the tables, and the truth."""

    images: str
    probe: str
    predictions: str
    truth: str
    uris: list[str]
    true_classes: np.ndarray
    labels: np.ndarray


def confusable_features(seed, classes=14, count=420, dimension=24, noise_rate=0.06):
    """Features of `count` images, their true classes, labels with planted errors, and patients (2 images each)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dimension))
    centres[1::2] = centres[::2] + 0.8 * rng.normal(size=(classes // 2, dimension))
    true_classes = np.arange(count) % classes
    features = 1.4 * centres[true_classes] + rng.normal(size=(count, dimension))
    labels = true_classes.copy()
    wrong = rng.random(count) < noise_rate
    mostly_twin = np.where(rng.random(count) < 0.7, true_classes ^ 1, (true_classes + 3) % classes)
    labels[wrong] = mostly_twin[wrong]
    patients = rng.permutation(count) // 2
    return features.astype(np.float32), true_classes, labels, patients


def out_of_fold(features, labels, patients, classes=14):
    probabilities = np.zeros((len(features), classes))
    for fold in range(4):
        held = patients % 4 == fold
        seen = ~held & (labels >= 0)
        model = LogisticRegression(C=0.2, max_iter=500).fit(features[seen], labels[seen])
        probabilities[np.ix_(held, model.classes_)] = model.predict_proba(features[held])
    return probabilities


def write_small_archive(folder: Path, *, seed: int = 0, count: int = 420, station: str = "XR-1") -> SmallArchive:
    features, true_classes, labels, patients = confusable_features(seed, count=count)
    rng = np.random.default_rng(seed + 1)
    labels[rng.random(count) < 0.05] = -1
    probabilities = out_of_fold(features, labels, patients)
    names = REGIONS.names
    uris = [f"/archive/{place:05d}.dcm" for place in range(count)]
    textures = rng.integers(0, 255, (14, 8, 8))
    rows = []
    for place, uri in enumerate(uris):
        texture = np.clip(textures[true_classes[place]] * 0.5 + rng.integers(0, 128, (8, 8)), 0, 255)
        image = np.kron(texture, np.ones((4, 4))).astype(np.uint8)
        rows.append(
            {
                "uri": uri,
                "row_id": tables.row_id(uri),
                "label": names[labels[place]] if labels[place] >= 0 else None,
                "patient": f"p{patients[place]:04d}",
                "station": station if place % 3 else "XR-2",
                "manufacturer": "Acme",
                "study_year": 2020 + place % 4,
                "status": "ok",
                "content_hash": f"hash{place}",
                "image": image.tobytes(),
                "side_px": SIDE_PX,
                "perceptual_hash": perceptual_hash(image),
                "split": ("train", "train", "train", "validation", "test")[patients[place] % 5],
            }
        )
    copy = {**rows[7], "uri": "/archive/99999.dcm", "row_id": tables.row_id("/archive/99999.dcm")}
    copy |= {"patient": "p9999", "status": "set_aside", "reason": "exact_copy", "image": None}
    images, probe, predictions = (str(folder / name) for name in ("images", "probe", "predictions"))
    table = pa.Table.from_pylist([*rows, copy], schema=tables.IMAGES_SCHEMA)
    storage.write_table(storage.join(images, "part.parquet"), table)
    keys = {"uri": uris, "row_id": [tables.row_id(uri) for uri in uris]}
    write_probe(probe, keys, features, probabilities)
    write_predictions(predictions, rows, probabilities, np.clip(rng.random(count), 0, 1))
    truth = storage.join(str(folder), "truth.parquet")
    storage.write_table(truth, pa.table({"uri": uris, "region": [names[each] for each in true_classes]}))
    return SmallArchive(images, probe, predictions, truth, uris, true_classes, labels)


def write_probe(probe, keys, features, probabilities) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(features.astype(np.float16).ravel(), pa.float16()), features.shape[1]
    )
    storage.write_table(storage.join(probe, "features", "one", "part.parquet"), pa.table({**keys, "simclr": vectors}))
    member = {"folder": "one", "column": "simclr", "run": "feed", "saw_labels": False}
    storage.write_json(storage.join(probe, "features", MEMBERS_FILE), {"simclr": member})
    folds = pa.table({**keys, "method": ["ensemble"] * len(features), "probabilities": probabilities.tolist()})
    storage.write_table(storage.join(probe, "out_of_fold.parquet"), folds)
    regions = [{"name": each.name, "title": each.title, "snomed_code": each.snomed_code} for each in REGIONS.regions]
    bundle = {"regions": {"name": "skeletal14", "regions": regions}, "ood_threshold": 0.95, "digest": "feed"}
    bundle |= {"facts": {"l2": {"simclr": 0.1}, "balance": 0.5}}
    storage.write_bytes(storage.join(probe, "bundle", "bundle.json"), json.dumps(bundle).encode())


def write_predictions(url, rows, probabilities, ood_score) -> None:
    best = probabilities.argmax(axis=1)
    made = [
        {
            **{name: row[name] for name in ("uri", "row_id", "patient", "station")},
            "status": "ok",
            "region": REGIONS.names[best[place]],
            "code": REGIONS.regions[best[place]].snomed_code,
            "confidence": probabilities[place].max(),
            "abstained": False,
            "ood_score": ood_score[place],
            "probabilities": probabilities[place].tolist(),
            "header_label": row["label"],
            "agrees": None if row["label"] is None else row["label"] == REGIONS.names[best[place]],
            "bundle": "feed",
            "radray_version": "0.1.0",
        }
        for place, row in enumerate(rows)
    ]
    storage.write_table(
        storage.join(url, "part.parquet"),
        pa.Table.from_pylist(made, schema=tables.predictions_schema(len(REGIONS))),
    )
