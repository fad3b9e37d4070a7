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
FACT_COLUMNS = [
    *("uri", "row_id", "label", "patient", "split", "station", "manufacturer", "model"),
    *("protocol_term", "study_year", "content_hash", "perceptual_hash"),
]
_BLOCK = 65_536
"""Rows of features that are turned into points together."""
_SAMPLE = 50_000
"""Rows that the axes of the points are found from."""
POINT_AXES = 256
"""Most axes of the points: more cost time and memory, and the last ones are noise."""


@dataclass(frozen=True, kw_only=True)
class MemberRows:
    """One member of the ensemble and its features of the images."""

    method: str
    saw_labels: bool
    """Whether its network learned from labels: such features know a wrong one by heart."""
    l2: float
    """Strength of its linear probe."""
    features: npt.NDArray[np.float16]
    """Float16 [n, d], as the network gives them; 0 for images that were not embedded."""


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
    ood_threshold: float
    """The bundle's operating point on `ood_score`."""
    balance: float
    """Class weighting of the probes."""
    members: tuple[MemberRows, ...]
    """Those of the ensemble."""
    bundle: str
    """Digest of the bundle."""

    def __len__(self) -> int:
        """Number of radiographs."""
        return len(self.labels)

    @property
    def embedded(self) -> npt.NDArray[np.bool_]:
        """Bool [n]: images that every judge has features of."""
        found: npt.NDArray[np.bool_] = np.all([each.features.any(axis=1) for each in self.judges], axis=0)
        return found

    @property
    def judges(self) -> tuple[MemberRows, ...]:
        """Members whose networks never saw a label; all where each did."""
        return tuple(each for each in self.members if not each.saw_labels) or self.members


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
    row_ids = facts["row_id"].to_numpy()
    order = np.argsort(row_ids)
    probabilities = np.full((len(row_ids), len(names)), np.nan)
    ood_score = np.full(len(row_ids), np.nan)
    predicted = _predictions(config.predictions, names)
    rows, known = _places(predicted, row_ids, order)
    probabilities[rows] = _matrix(predicted["probabilities"].filter(known), len(names))
    ood_score[rows] = predicted["ood_score"].filter(known).to_numpy()
    folds = storage.read_table(
        storage.join(config.probe, "out_of_fold.parquet"),
        columns=["row_id", "probabilities"],
        filter=pc.field("method") == ENSEMBLE,
    )
    rows, known = _places(folds, row_ids, order)
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
        ood_threshold=float(bundle["ood_threshold"]),
        balance=float(bundle["facts"]["balance"]),
        members=tuple(_members(config.probe, bundle, row_ids)),
        bundle=str(bundle["digest"]),
    )


def points(rows: AuditRows) -> npt.NDArray[np.float32]:
    """The images in one space: features of the judges, each standardised, side by side, on their strongest axes.

    Returns:
        Float32 [n, at most `POINT_AXES`], rows of length 1; 0 for images that were not embedded.
    """
    sample = np.sort(np.random.default_rng(0).permutation(len(rows))[:_SAMPLE])
    parts = [_Standard(each.features[sample]) for each in rows.judges]
    basis = np.concatenate([one(each.features[sample]) for one, each in zip(parts, rows.judges, strict=True)], axis=1)
    axes = _strongest_axes(basis)
    found = np.empty((len(rows), axes.shape[1]), np.float32)
    for start in range(0, len(rows), _BLOCK):
        some = slice(start, start + _BLOCK)
        own = np.concatenate([one(each.features[some]) for one, each in zip(parts, rows.judges, strict=True)], axis=1)
        known = np.all([each.features[some].any(axis=1) for each in rows.judges], axis=0)
        turned = own @ axes
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        found[some] = np.where(known[:, None], turned / np.maximum(length, 1e-12), 0)
    return found


class _Standard:
    """Normalises features as the bundle does and standardises them by a sample's mean and deviation."""

    def __init__(self, sample: npt.NDArray[np.float16]) -> None:
        own = self._normalise(sample[sample.any(axis=1)])
        self._mean, self._scale = own.mean(axis=0), own.std(axis=0) + 1e-6

    def __call__(self, features: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        own = (self._normalise(features) - self._mean) / self._scale / np.sqrt(features.shape[1])
        return np.asarray(own, np.float32)

    @staticmethod
    def _normalise(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        import torch

        from radray.ensemble.features import normalise

        own: npt.NDArray[np.float32] = normalise(torch.from_numpy(features)).numpy()
        return own


def _strongest_axes(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Float32 [d, at most `POINT_AXES`]: principal axes; the identity where there are no more."""
    if sample.shape[1] <= POINT_AXES:
        return np.eye(sample.shape[1], dtype=np.float32)
    values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
    return np.asarray(vectors[:, np.argsort(-values)[:POINT_AXES]], np.float32)


def _predictions(url: str, names: tuple[str, ...]) -> pa.Table:
    columns = ["row_id", "probabilities", "ood_score"]
    table = storage.read_table(latest_predictions(url), columns=columns, filter=pc.field("status") == Status.OK.value)
    if table.num_rows and len(table["probabilities"][0]) != len(names):
        raise ConfigError(
            f"--predictions {url}: {len(table['probabilities'][0])} regions there, {len(names)} in --probe's bundle; "
            "score the archive with that bundle"
        )
    return table


def _places(
    table: pa.Table, row_ids: npt.NDArray[np.int64], order: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Where each row of a table stands among the images, and a mask of those that do."""
    wanted = table["row_id"].to_numpy()
    near = order[np.searchsorted(row_ids, wanted, sorter=order).clip(max=len(row_ids) - 1)]
    known = row_ids[near] == wanted
    return near[known], pa.array(known)


def _matrix(lists: Any, width: int) -> npt.NDArray[np.float64]:
    flat = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float64).reshape(-1, width)


def _group_numbers(facts: pa.Table) -> npt.NDArray[np.int64]:
    owners = pc.coalesce(facts["patient"], facts["uri"]).combine_chunks().dictionary_encode()
    numbers: npt.NDArray[np.int64] = owners.indices.to_numpy().astype(np.int64)
    return numbers


def _finite(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Images of which a network said something that is no number count as not embedded."""
    features[~np.isfinite(features).all(axis=1)] = 0
    return features


def _members(probe: str, bundle: dict[str, Any], row_ids: npt.NDArray[np.int64]) -> list[MemberRows]:
    from radray.probe.embedding import find_members

    strengths = bundle["facts"]["l2"]
    return [
        MemberRows(
            method=method, saw_labels=saw, l2=strengths[method], features=_finite(stored.read(row_ids, gaps=True))
        )
        for method, (stored, saw) in find_members(probe).items()
        if method in strengths
    ]
