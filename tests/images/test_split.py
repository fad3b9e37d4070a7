from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from radray.errors import ConfigError
from radray.images import assign_folds, assign_splits, class_indices
from radray.images.split import complete_splits, extend_splits, read_splits


def archive(patients=400, seed=0):
    """Patients with one to six images of common and rare regions, some without label."""
    rng = np.random.default_rng(seed)
    names = ["knee", "hand", "skull", "scapula"]
    rows = []
    for patient in range(patients):
        for _ in range(rng.integers(1, 7)):
            region = str(rng.choice(names, p=[0.6, 0.25, 0.1, 0.05]))
            rows.append((f"p{patient:04}", None if rng.random() < 0.1 else region))
    return [row[0] for row in rows], [row[1] for row in rows]


def rarest(patients, regions):
    """The slow way: each patient's rarest region."""
    frequency = Counter(region for region in regions if region)
    own = {}
    for patient in set(patients):
        held = {region for p, region in zip(patients, regions, strict=True) if p == patient and region}
        own[patient] = min(held, key=lambda region: frequency[region], default=None)
    return own


def test_a_patient_never_stands_on_two_sides_and_every_region_stands_on_all():
    patients, regions = archive()
    splits = assign_splits(patients, regions)
    sides = defaultdict(set)
    for patient, split in zip(patients, splits, strict=True):
        sides[patient].add(split)
    assert all(len(held) == 1 for held in sides.values())
    counts = defaultdict(Counter)
    for patient, region in rarest(patients, regions).items():
        counts[region][next(iter(sides[patient]))] += 1
    assert len(counts) == 5
    for strata in counts.values():
        total = sum(strata.values())
        assert strata["test"] == pytest.approx(0.2 * total, abs=1)
        assert strata["validation"] == pytest.approx(0.16 * total, abs=1)


def test_split_depends_on_the_seed_and_not_on_the_order():
    patients, regions = archive()
    splits = assign_splits(patients, regions, seed=3)
    order = np.random.default_rng(0).permutation(len(patients))
    again = assign_splits([patients[i] for i in order], [regions[i] for i in order], seed=3)
    assert [splits[i] for i in order] == again
    assert splits != assign_splits(patients, regions, seed=4)


def test_few_patients_stay_in_training():
    assert assign_splits(["a", "b"], ["knee", "knee"]) == ["train", "train"]
    assert Counter(assign_splits(["a", "b", "c"], ["knee"] * 3)) == {"train": 1, "validation": 1, "test": 1}
    assert set(assign_splits(list("abcdef"), ["knee"] * 6, test_fraction=0, validation_fraction=0)) == {"train"}


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_folds_are_even_whole_patients_and_stratified(folds):
    patients, regions = archive()
    fold = assign_folds(patients, regions, folds)
    by_patient = dict(zip(patients, fold, strict=True))
    assert all(by_patient[patient] == number for patient, number in zip(patients, fold, strict=True))
    sizes = np.bincount(list(by_patient.values()), minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for region in ("scapula", "skull"):
        own = [by_patient[patient] for patient, held in rarest(patients, regions).items() if held == region]
        held = np.bincount(own, minlength=folds)
        assert held.max() - held.min() <= 1
    with pytest.raises(ValueError, match="two"):
        assign_folds(patients, regions, 1)


def test_class_indices():
    assert class_indices(["b", None, "x", "a"], ["a", "b"]).tolist() == [1, -1, -1, 0]


def test_a_sites_table_gives_the_splits(tmp_path: Path) -> None:
    archive = [f"{tmp_path}/a/{number}" for number in range(6)]
    (tmp_path / "splits.csv").write_text("path,split\na/0,test\na/1,train\na/2,train\na/3,train\n")
    given = read_splits(str(tmp_path / "splits.csv"), archive)
    assert given == ["test", "train", "train", "train", None, None]
    patients = ["p0", "p1", "p2", "p3", "p4", "p5"]
    splits = complete_splits(given, patients, ["hand"] * 6, 0.2, seed=0)
    assert splits[0] == "test" and splits.count("validation") == 1 and splits.count("test") == 1
    assert complete_splits(["test", "validation", None], ["a", "b", "c"], [None] * 3, 0.2, 0)[2] == "train"
    with pytest.raises(ConfigError, match="a patient has objects in test and elsewhere"):
        complete_splits(given, ["p0", "p0", "p2", "p3", "p4", "p5"], ["hand"] * 6, 0.2, seed=0)
    (tmp_path / "bad.csv").write_text("path,split\na/0,holdout\n")
    with pytest.raises(ConfigError, match="'holdout' is not a split"):
        read_splits(str(tmp_path / "bad.csv"), archive)


def test_patients_keep_their_split_when_more_come() -> None:
    patients = [f"p{number}" for number in range(60)]
    regions = ["knee" if number % 2 else "hand" for number in range(60)]
    shares = {"test_fraction": 0.2, "validation_fraction": 0.2, "seed": 1}
    first = extend_splits({}, patients[:40], regions[:40], **shares)
    assert first == assign_splits(patients[:40], regions[:40], **shares)
    known = dict(zip(patients[:40], first, strict=True))
    both = extend_splits(known, patients, regions, **shares)
    assert both[:40] == first
    assert set(both[40:]) == {"train", "validation", "test"}
