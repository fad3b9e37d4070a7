"""Splits and folds by patient, stratified by region: a patient never stands on two sides.

As in Langer et al. (arXiv 2412.15967): 20 % of the patients test, 20 % of the rest validation; a patient with
several regions counts under the one that is rarest in the whole table. Patients without any label form a stratum
of their own.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from radray.errors import ConfigError
from radray.site_table import read_site_table

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


def assign_splits(
    patients: Sequence[str],
    regions: Sequence[str | None],
    *,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> list[str]:
    """Assign each row to train, validation or test.

    Args:
        patients: Patient of each row.
        regions: Region label of each row, None where there is none.
        test_fraction: Share of each stratum's patients that go to test (at least one of three or more).
        validation_fraction: Share of the rest that goes to validation (at least one of three or more).
        seed: Other seeds draw other patients.

    Returns:
        The split of each row. The order of the rows does not matter.
    """
    side: dict[str, str] = {}
    for members in _strata(patients, regions, seed).values():
        tests = _share(len(members), len(members), test_fraction)
        validations = _share(len(members), len(members) - tests, validation_fraction)
        for place, patient in enumerate(members):
            side[patient] = TEST if place < tests else VALIDATION if place < tests + validations else TRAIN
    return [side[patient] for patient in patients]


def extend_splits(
    known: Mapping[str, str],
    patients: Sequence[str],
    regions: Sequence[str | None],
    *,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
) -> list[str]:
    """The split of each row: the patient's known one, else one drawn among the new patients as `assign_splits` does."""
    new = [place for place, patient in enumerate(patients) if patient not in known]
    drawn = assign_splits(
        [patients[place] for place in new],
        [regions[place] for place in new],
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        seed=seed,
    )
    sides = dict(known) | {patients[place]: split for place, split in zip(new, drawn, strict=True)}
    return [sides[patient] for patient in patients]


def read_splits(url: str, uris: Sequence[str]) -> list[str | None]:
    """The split that a site's table gives each object, None where it does not name it.

    Raises:
        ConfigError: No column `split`, another value than train, validation or test, or no object of it is known.
    """
    table = read_site_table(url, "--split table:")
    if "split" not in table.column_names:
        raise ConfigError(f"--split table:{url}: the column split is missing; its columns are {table.column_names}")
    named = dict(zip(table["uri"].to_pylist(), table["split"].to_pylist(), strict=True))
    if unknown := set(named.values()) - {*SPLITS, None}:
        raise ConfigError(f"--split table:{url}: {unknown.pop()!r} is not a split; use {', '.join(SPLITS)}")
    found = [named.get(uri) for uri in uris]
    if not any(found):
        raise ConfigError(f"--split table:{url}: none of its objects is in the index; uri or path must match")
    return found


def complete_splits(
    given: Sequence[str | None],
    patients: Sequence[str],
    regions: Sequence[str | None],
    validation_fraction: float,
    seed: int,
) -> list[str]:
    """Given splits with objects unnamed put to train, and validation patients drawn from train where none are given.

    Raises:
        ConfigError: A patient on both sides of the test split.
    """
    tested = {patient for patient, split in zip(patients, given, strict=True) if split == TEST}
    if any(patient in tested and split != TEST for patient, split in zip(patients, given, strict=True)):
        raise ConfigError("--split: a patient has objects in test and elsewhere; put all of a patient on one side")
    splits = [split or TRAIN for split in given]
    if VALIDATION in splits:
        return splits
    pool = [place for place, split in enumerate(splits) if split == TRAIN]
    drawn = assign_splits(
        [patients[place] for place in pool],
        [regions[place] for place in pool],
        test_fraction=0.0,
        validation_fraction=validation_fraction,
        seed=seed,
    )
    for place, split in zip(pool, drawn, strict=True):
        splits[place] = split
    return splits


def _share(patients: int, available: int, fraction: float) -> int:
    if fraction == 0 or patients < 3:
        return 0
    return max(1, round(available * fraction))


def assign_folds(
    patients: Sequence[str], regions: Sequence[str | None], folds: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Assign each row to one of `folds` folds, 0 to folds − 1, each patient wholly to one.

    Each stratum's patients are dealt round; every stratum starts where the last one stopped, so that folds stay even.

    Args:
        patients: Patient of each row.
        regions: Region label of each row, None where there is none.
        folds: Number of folds, 2 or more.
        seed: Other seeds deal otherwise.

    Raises:
        ValueError: Fewer than two folds.
    """
    if folds < 2:
        raise ValueError(f"{folds} folds; two are the least")
    fold: dict[str, int] = {}
    for members in _strata(patients, regions, seed).values():
        for patient in members:
            fold[patient] = len(fold) % folds
    return np.array([fold[patient] for patient in patients], np.int64)


def _strata(patients: Sequence[str], regions: Sequence[str | None], seed: int) -> dict[str, list[str]]:
    """Patients by their rarest region ("" for none), each stratum in a random order that the seed fixes."""
    frequency = Counter(region for region in regions if region)
    order = sorted(frequency, key=lambda region: (frequency[region], region))
    rarity = {region: place for place, region in enumerate(order)} | {None: len(order), "": len(order)}
    rarest: dict[str, int] = {}
    for patient, region in zip(patients, regions, strict=True):
        rarest[patient] = min(rarest.get(patient, len(order)), rarity[region])
    strata: dict[str, list[str]] = defaultdict(list)
    for patient, place in rarest.items():
        strata[order[place] if place < len(order) else ""].append(patient)
    return {stratum: sorted(strata[stratum], key=lambda patient: _draw(seed, patient)) for stratum in sorted(strata)}


def _draw(seed: int, patient: str) -> tuple[bytes, str]:
    return hashlib.blake2b(f"{seed}/{patient}".encode(), digest_size=8).digest(), patient
