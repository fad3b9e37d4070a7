"""What the audit reads, brought into one order: facts, labels, out-of-fold probabilities, features, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.audit.config import AuditConfig
from radray.errors import ConfigError, Status
from radray.images.labels import class_indices
from radray.score.versions import latest_predictions

ENSEMBLE = "ensemble"
LABEL_FREE_METHODS = ("simclr", "byol")
"""Methods whose backbone never saw a label: their features cannot have learned a wrong one by heart."""
FACT_COLUMNS = [
    *("uri", "row_id", "label", "patient", "split", "station", "manufacturer", "model"),
    *("protocol_term", "study_year", "content_hash", "perceptual_hash"),
]


@dataclass(frozen=True, kw_only=True)
class AuditRows:
    """n usable radiographs, sorted by `uri`; every array is in that order."""

    names: tuple[str, ...]
    """Regions in class order."""
    titles: dict[str, str]
    """Region name → title for people."""
    facts: pa.Table
    """n rows of `FACT_COLUMNS`."""
    labels: npt.NDArray[np.int64]
    """Int64 [n]: given class; −1 without a label, or with one that is no class."""
    patients: npt.NDArray[np.int64]
    """Int64 [n]: number of the patient; images without one stand alone."""
    probabilities: npt.NDArray[np.float64]
    """Float64 [n, classes]: the ensemble's, out of fold; the predictions' where it has no fold; NaN without."""
    ood_score: npt.NDArray[np.float64]
    """Float64 [n]: predictions' out-of-domain score, NaN without prediction."""
    abstained: npt.NDArray[np.bool_]
    """Bool [n]: the bundle abstained."""
    ood_threshold: float
    """The bundle's operating point on `ood_score`."""
    features: npt.NDArray[np.float32] | None
    """Float32 [n, d], members side by side; rows without features are NaN; None where the probe wrote none."""

    def __len__(self) -> int:
        """Number of radiographs."""
        return len(self.labels)


def load_rows(config: AuditConfig) -> AuditRows:
    """Read and align everything.

    Raises:
        ConfigError: No usable image, or tables that do not belong together.
    """
    bundle = storage.read_json(storage.join(config.probe, "bundle", "bundle.json"))
    regions = bundle["regions"]["regions"]
    names = tuple(region["name"] for region in regions)
    facts = storage.read_table(config.images, columns=FACT_COLUMNS, filter=pc.field("status") == Status.OK.value)
    if not facts.num_rows:
        raise ConfigError(f"--images {config.images}: no usable image is there; look at its summary's by_reason")
    facts = facts.sort_by("uri").combine_chunks()
    uris = facts["uri"].to_pylist()
    place = {uri: index for index, uri in enumerate(uris)}
    probabilities = np.full((len(uris), len(names)), np.nan)
    ood_score, abstained = np.full(len(uris), np.nan), np.zeros(len(uris), bool)
    predicted = _predictions(config.predictions, names)
    rows, known = _places(predicted["uri"], place)
    probabilities[rows] = _matrix(predicted["probabilities"].filter(known), len(names))
    ood_score[rows] = predicted["ood_score"].filter(known).to_numpy()
    abstained[rows] = predicted["abstained"].filter(known).to_numpy()
    folds = storage.read_table(
        storage.join(config.probe, "out_of_fold.parquet"),
        columns=["uri", "probabilities"],
        filter=pc.field("method") == ENSEMBLE,
    )
    rows, known = _places(folds["uri"], place)
    if not len(rows):
        raise ConfigError(f"--probe {config.probe}: its out-of-fold rows are of other images than --images")
    probabilities[rows] = _matrix(folds["probabilities"].filter(known), len(names))
    return AuditRows(
        names=names,
        titles={region["name"]: region["title"] for region in regions},
        facts=facts,
        labels=class_indices(facts["label"].to_pylist(), names),
        patients=_group_numbers(facts),
        probabilities=probabilities,
        ood_score=ood_score,
        abstained=abstained,
        ood_threshold=float(bundle["ood_threshold"]),
        features=_features(config.probe, place),
    )


def _predictions(url: str, names: tuple[str, ...]) -> pa.Table:
    columns = ["uri", "probabilities", "ood_score", "abstained"]
    table = storage.read_table(latest_predictions(url), columns=columns, filter=pc.field("status") == Status.OK.value)
    if table.num_rows and len(table["probabilities"][0]) != len(names):
        raise ConfigError(
            f"--predictions {url}: {len(table['probabilities'][0])} regions there, {len(names)} in --probe's bundle; "
            "score the archive with that bundle"
        )
    return table


def _places(uris: pa.ChunkedArray, place: dict[str, int]) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Where each `uri` stands among the images, and a mask of those that do."""
    rows = np.array([place.get(uri, -1) for uri in uris.to_pylist()], np.int64)
    return rows[rows >= 0], pa.array(rows >= 0)


def _matrix(lists: Any, width: int) -> npt.NDArray[np.float64]:
    flat = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float64).reshape(-1, width)


def _group_numbers(facts: pa.Table) -> npt.NDArray[np.int64]:
    owners = pc.coalesce(facts["patient"], facts["uri"]).combine_chunks().dictionary_encode()
    numbers: npt.NDArray[np.int64] = owners.indices.to_numpy().astype(np.int64)
    return numbers


def _features(probe: str, place: dict[str, int]) -> npt.NDArray[np.float32] | None:
    """Features of the label-free methods (of all where there is none), normalised as the bundle does, side by side."""
    import torch

    from radray.ensemble.features import normalise

    files = {file.rsplit("/", 1)[-1].removesuffix(".parquet"): file for file in _feature_files(probe)}
    chosen = [method for method in sorted(files) if method in LABEL_FREE_METHODS] or sorted(files)
    parts = []
    for method in chosen:
        table = storage.read_table(files[method], columns=["uri", "vector"])
        rows, known = _places(table["uri"], place)
        if not len(rows):
            continue
        vectors = _matrix(table["vector"].filter(known), len(table["vector"][0])).astype(np.float32)
        normal = normalise(torch.from_numpy(vectors)).numpy()
        own = np.full((len(place), normal.shape[1]), np.nan, np.float32)
        own[rows] = (normal - normal.mean(axis=0)) / (normal.std(axis=0) + 1e-6)
        parts.append(own / np.sqrt(own.shape[1]))
    return np.concatenate(parts, axis=1) if parts else None


def _feature_files(probe: str) -> list[str]:
    return storage.list_files(storage.join(probe, "features"), ".parquet")
