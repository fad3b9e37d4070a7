"""What the labels of an images table come to: classes, patients, and labels that help nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from radray import storage
from radray.probe.cohort import read_cohort
from radray.probe.config import ProbeConfig
from radray.probe.stage import run_probe
from radray.regions import load_regions
from tests.probe.drawn_images import write_images
from tests.probe.runs import write_run


@pytest.mark.usefixtures("ray_cluster")
def test_labels_outside_the_classes_and_regions_with_too_few_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(tmp_path / "images")
    write_images(url)
    splits = storage.read_table(url).sort_by("uri")["split"].to_pylist()
    training = [number for number, split in enumerate(splits) if split == "train"]
    lone, strange = training[0], {number: "tail" for number in training[10:13]}
    write_images(url, labels={lone: "wrist", **strange})
    write_run(str(tmp_path / "runs" / "simclr"), "simclr", seed=0)
    config = ProbeConfig(
        images=url, runs=(str(tmp_path / "runs"),), output=str(tmp_path / "out"), budgets=("all",), prune=False
    )
    cohort = read_cohort(config, load_regions(config.regions))
    assert cohort.outside == {"tail": 3}
    assert (cohort.labels[list(strange)] == -1).all()
    summary = run_probe(config)
    assert summary["labels_outside_classes"] == {"tail": 3}
    assert summary["regions_with_one_training_image"] == ["wrist"]
    absent = summary["regions_without_training_image"]
    assert set(absent) == set(cohort.names) - {"knee", "hand", "skull", "ribs", "wrist"}
    told = capsys.readouterr().err
    assert "taken as missing: tail 3" in told and "one labelled training image: wrist" in told
    predicted = storage.read_table(str(tmp_path / "out" / "test_predictions.parquet"))
    assert not set(predicted["region"].to_pylist()) & set(absent)
