"""What the labels of an images table come to: classes, patients, and labels that help nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from radray import storage
from radray.probe.cohort import read_cohort
from radray.probe.config import ProbeConfig
from radray.probe.stage import warn_of_labels
from radray.regions import load_regions
from tests.probe.drawn_images import write_images


def test_labels_outside_the_classes_and_regions_with_too_few_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(tmp_path / "images")
    write_images(url)
    splits = storage.read_table(url).sort_by("uri")["split"].to_pylist()
    training = [number for number, split in enumerate(splits) if split == "train"]
    lone, strange = training[0], {number: "tail" for number in training[10:13]}
    write_images(url, labels={lone: "wrist", **strange})
    config = ProbeConfig(images=url, runs=("imagenet",), output=str(tmp_path / "out"))
    cohort = read_cohort(config, load_regions(config.regions))
    assert cohort.outside == {"tail": 3}
    assert (cohort.labels[list(strange)] == -1).all()
    assert cohort.scarce(1) == ["wrist"]
    assert set(cohort.scarce(0)) == set(cohort.names) - {"knee", "hand", "skull", "ribs", "wrist"}
    warn_of_labels(cohort)
    told = capsys.readouterr().err
    assert "taken as missing: tail 3" in told and "one labelled training image: wrist" in told
