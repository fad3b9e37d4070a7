"""What a run trains on: the machine's cache, gauges, the monitor; and what cannot be trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from radray.cleaning.annotations import find_annotations
from radray.cleaning.config import CleaningConfig
from radray.errors import ConfigError
from radray.images.reading import load_images, save_cleaning, table_digest
from radray.pretrain.backbone import Backbone
from radray.pretrain.data import (
    fits_on_disk,
    open_gauges,
    open_monitor,
    open_training_set,
    require_trainable,
)
from radray.pretrain.samples import TrainingSet
from radray.views.gauge import harvest_gauges
from tests.probe.drawn_images import REGIONS, write_images


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RADRAY_CACHE", str(tmp_path / "cache"))
    write_images(str(tmp_path / "images"), patients=60)
    return str(tmp_path / "images")


@pytest.mark.parametrize("source", ["cache", "stream"])
def test_the_training_set_is_the_train_split(table: str, source: str) -> None:
    data = open_training_set(table, table_digest(table), source)
    loaded = load_images(table, ["label"], ["train"])
    rows = np.arange(len(data))
    assert sorted(data.names(rows)) == loaded.facts["uri"].to_pylist()
    named = dict(zip(loaded.facts["uri"].to_pylist(), loaded.facts["label"].to_pylist(), strict=True))
    labels = [data.regions[label] if label >= 0 else None for label in data.labels]
    assert labels == [named[uri] for uri in data.names(rows)]
    assert data.side_px == 32 and data.read(rows[:3]).shape == (3, 32, 32)


def test_the_cache_serves_without_the_table(table: str) -> None:
    digest = table_digest(table)
    first = open_training_set(table, digest, "cache")
    shutil.rmtree(table)
    again = open_training_set(table, digest, "cache")
    assert isinstance(first, TrainingSet) and isinstance(again, TrainingSet)
    assert isinstance(again.images, np.memmap) and np.array_equal(first.images, again.images)
    with_label = np.flatnonzero(again.labels >= 0)
    part = again.take(with_label[::2]).take(np.arange(3))
    assert part.images is again.images  # no copy
    assert np.array_equal(part.read(np.arange(3)), again.images[with_label[:6:2]])


def test_a_table_larger_than_the_disk_does_not_fit(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = table_digest(table)
    assert fits_on_disk(table, digest)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1000))  # type: ignore[attr-defined]
    assert not fits_on_disk(table, digest)
    monkeypatch.undo()
    monkeypatch.setenv("RADRAY_CACHE", str(Path(table).parent / "cache"))
    open_training_set(table, digest, "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1000))  # type: ignore[attr-defined]
    assert fits_on_disk(table, digest)  # it is there


@pytest.mark.parametrize("source", ["cache", "stream"])
def test_the_monitor_measures_what_an_untrained_network_can(table: str, source: str) -> None:
    digest = table_digest(table)
    monitor = open_monitor(table, open_training_set(table, digest, source), digest)
    assert monitor is not None
    found = monitor(Backbone("resnet10", 32))
    assert found.keys() == {"knn_accuracy", "linear_accuracy"}
    assert all(1 / len(REGIONS) < value <= 1 for value in found.values())  # random features tell shapes apart already


def test_without_labels_there_is_no_monitor(table: str) -> None:
    digest = table_digest(table)
    data = open_training_set(table, digest, "cache")
    assert open_monitor(table, data.with_labels(np.full(len(data), -1)), digest) is None


def test_two_letters_side_by_side_might_be_a_name_and_are_no_gauge() -> None:
    image = np.zeros((256, 256), np.uint8)
    cv2.putText(image, "WU", (100, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    assert find_annotations(image.astype(np.float32) / 255).markers
    assert len(harvest_gauges(image[None])["grey"]) == 0
    image = np.zeros((256, 256), np.uint8)
    cv2.putText(image, "R", (100, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    assert len(harvest_gauges(image[None])["grey"]) == 3


def test_gauges_of_the_archive_join_the_synthetic_ones(table: str) -> None:
    images = np.zeros((40, 96, 96), np.uint8)
    images[::4, 10:16, 70:72] = 255  # an L
    images[::4, 14:16, 70:75] = 255
    data = TrainingSet(images, np.zeros(40, np.int64), [""] * 40, ("a",))
    synthetic, grown = (open_gauges(data, "some", from_archive, seed=0) for from_archive in (False, True))
    assert len(grown.grey) == len(synthetic.grey) + 30  # ten markers in three sizes
    added = grown.alpha[len(synthetic.grey) + 1]
    assert added.max() == 1 and 12 < float(added.sum()) < 40 and grown.grey[-1].min() > 0.95


def test_what_cannot_be_learned_from_is_refused_in_one_line(table: str, tmp_path: Path) -> None:
    data = TrainingSet(np.zeros((4, 8, 8), np.uint8), np.zeros(4, np.int64), [""] * 4, ("knee",))
    with pytest.raises(ConfigError, match="supcon needs at least two regions; all labels are 'knee'"):
        require_trainable(data, "supcon", needs_labels=True)
    with pytest.raises(ConfigError, match="supervised learns from labels, and no training image has one"):
        require_trainable(data.with_labels(np.full(4, -1)), "supervised", needs_labels=True)
    require_trainable(data, "simclr", needs_labels=False)
    write_images(str(tmp_path / "empty"), patients=0)
    with pytest.raises(ConfigError, match="no usable image is there"):
        table_digest(str(tmp_path / "empty"))


def test_the_digest_tells_what_training_depends_on(table: str, tmp_path: Path) -> None:
    first = table_digest(table)
    assert first == table_digest(table)
    write_images(str(tmp_path / "wrong"), patients=60, wrong=3)
    save_cleaning(table, CleaningConfig(side_px=32, working_px=64, crop_field=False))
    assert len({first, table_digest(str(tmp_path / "wrong")), table_digest(table)}) == 3
