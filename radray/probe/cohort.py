"""The images of a probe as arrays: labels as class numbers, splits, folds, and truth for measuring."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from radray.errors import ConfigError
from radray.images.budgets import labelled_subset
from radray.images.labels import class_indices
from radray.images.reading import load_facts
from radray.images.split import TEST, TRAIN, VALIDATION, assign_folds
from radray.probe.config import ProbeConfig
from radray.regions import RegionSet
from radray.site_table import read_site_table

IntArray = npt.NDArray[np.int64]
COLUMNS = (
    "uri",
    "row_id",
    "label",
    "patient",
    "study_instance_uid",
    "split",
    "sex",
    "age_decade",
    "manufacturer",
    "station",
)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """n usable radiographs, sorted by `uri`."""

    facts: pa.Table
    """uri and row_id of each image, and what else is known."""
    labels: Tensor
    """Int64[n], −1 where there is no label or it is no class."""
    truth: IntArray | None
    """Int64[n], −1 where unknown. Only figures may use it."""
    patients: list[str]
    """Of each image (the study's or the object's key where the header names no patient)."""
    split: npt.NDArray[np.str_]
    """train, validation or test of each image."""
    folds: Tensor
    """Int64[n], folds by patient."""
    names: tuple[str, ...]
    """Classes in order."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def row_ids(self) -> IntArray:
        """Int64[n], the images' keys."""
        ids: IntArray = self.facts["row_id"].to_numpy()
        return ids

    @property
    def outside(self) -> dict[str, int]:
        """Labels that are no class, and how many images have each: they count as images without label."""
        found = Counter(self.facts["label"].to_pylist())
        return {name: found[name] for name in sorted(filter(None, found)) if name not in self.names}

    def scarce(self, images: int) -> list[str]:
        """Classes with exactly so many labelled training images."""
        counts = torch.bincount(self.labels[self.rows(TRAIN)], minlength=len(self.names))
        return [name for name, count in zip(self.names, counts.tolist(), strict=True) if count == images]

    def rows(self, split: str, *, labelled: bool = True) -> Tensor:
        """Int64 indices of a split's images."""
        inside = torch.from_numpy(self.split == split)
        return (inside & (self.labels >= 0) if labelled else inside).nonzero()[:, 0]

    def budget_rows(self, split: str, budget: str, seed: int) -> Tensor:
        """Indices of the images of a split whose label may be used under a budget."""
        rows = self.rows(split)
        names = np.array([self.names[index] for index in self.labels[rows].tolist()])
        return rows[torch.from_numpy(labelled_subset(names, budget, seed))] if len(rows) else rows


def read_cohort(config: ProbeConfig, regions: RegionSet) -> Cohort:
    """Load images, labels, splits and truth.

    Raises:
        ConfigError: No labelled training images of two regions, or none for validation or test.
    """
    facts = load_facts(config.images, COLUMNS)
    label_names = facts["label"].to_pylist()
    patients = [
        patient or study or uri
        for patient, study, uri in zip(
            *(facts[name].to_pylist() for name in ("patient", "study_instance_uid", "uri")), strict=True
        )
    ]
    cohort = Cohort(
        facts=facts,
        labels=torch.from_numpy(class_indices(label_names, regions.names)),
        truth=_truth(config.truth, facts, regions) if config.truth else None,
        patients=patients,
        split=np.array(facts["split"].to_pylist(), dtype=str),
        folds=torch.from_numpy(assign_folds(patients, label_names, config.folds, config.seed)),
        names=regions.names,
    )
    if len(set(cohort.labels[cohort.rows(TRAIN)].tolist())) < 2:
        raise ConfigError(
            f"--images {config.images}: the training split has labels of fewer than two regions of --regions "
            f"{config.regions}; choose a class list that fits the labels, or index with --labels"
        )
    for split in (VALIDATION, TEST):
        if not len(cohort.rows(split)):
            raise ConfigError(
                f"--images {config.images}: the {split} split has no labelled image; clean more patients, or set "
                f"--{split}-fraction of jobs/clean.py higher"
            )
    return cohort


def _truth(url: str, facts: pa.Table, regions: RegionSet) -> IntArray:
    table = read_site_table(url, "--truth")
    if "region" not in table.column_names:
        raise ConfigError(f"--truth {url}: the column region is missing; its columns are {table.column_names}")
    known = dict(zip(table["uri"].to_pylist(), table["region"].to_pylist(), strict=True))
    found = class_indices([known.get(uri) for uri in facts["uri"].to_pylist()], regions.names)
    if (found < 0).all():
        raise ConfigError(f"--truth {url}: no uri of it is in the images table; its uri must be the objects' URLs")
    return found
