"""The stage under Ray Train: a run folder on two workers, no second run, refusals without retries."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.config import PretrainConfig
from radray.pretrain.journal import read_journal
from radray.pretrain.run import load_run
from radray.pretrain.stage import run_all, run_pretrain
from radray.pretrain.weights import weights_for
from tests.probe.drawn_images import SIDE, write_images

pytestmark = pytest.mark.usefixtures("ray_cluster")


def settings(folder: Path, **given: Any) -> PretrainConfig:
    defaults: dict[str, Any] = {
        "images": str(folder / "images"),
        "output": str(folder / "run"),
        "method": "simclr",
        "recipe": "cpu_demo",
        "side_px": SIDE,
        "batch_size": 16,
        "epochs": 3,
        "monitor_epochs": 1,
        "threads": 1,
    }
    return PretrainConfig(**(defaults | given))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """SimCLR, and supervised with few labels too, in one group of two workers; the table is streamed for SimCLR."""
    folder = tmp_path_factory.mktemp("pretrain")
    write_images(str(folder / "images"), patients=50, files=3)
    runs = [
        settings(folder, workers=2, source="stream", study_mates=0.0, checkpoint_every_s=0.0),
        settings(
            folder, output=str(folder / "few"), method="supervised", budgets=("2",), budget_seeds=1, budget_steps=4
        ),
    ]
    return folder, run_all(runs)


def test_two_workers_leave_a_run_folder(trained: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (summary, few) = trained
    run = load_run(str(folder / "run"))
    assert (summary["source"], few["source"]) == ("stream", "cache") and summary["networks"] == 1
    assert run.method == "simclr" and run.digest == summary["digest"] and run.document["samples"] == summary["rows_in"]
    lines = read_journal(str(folder / "run"))
    positions = [line["position"] for line in lines]
    assert positions == sorted(set(positions)) and lines[-1]["position"] >= 3 * summary["rows_in"]
    looked_at = [line["epoch"] for line in lines if "knn_accuracy" in line]
    assert [round(epoch, 1) >= number for number, epoch in enumerate(looked_at, start=1)] == [True] * 3
    assert {"loss", "learning_rate", "feature_std", "alignment", "uniformity", "waiting_share"} <= lines[-1].keys()
    assert (folder / "run" / "tensorboard").is_dir()
    assert 0 <= summary["knn_accuracy"] <= 1
    assert few["by_status"] == {"trained": few["rows_in"] - 3, "left_out_without_label": 3}
    assert few["networks"] == 2 and load_run(str(folder / "few" / "budgets" / "2-seed0")).document["labelled"] == 8


def test_a_finished_run_is_left_alone_and_another_is_refused(trained: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (summary, _) = trained
    same = settings(folder, workers=2, source="stream", study_mates=0.0, checkpoint_every_s=0.0)
    started = time.monotonic()
    assert run_pretrain(same) == summary and time.monotonic() - started < 5
    with pytest.raises(ConfigError, match="holds a run with another recipe; choose another folder"):
        run_pretrain(dataclasses.replace(same, epochs=4))
    (folder / "run" / "run.json").rename(folder / "kept.json")  # begun, not finished
    with pytest.raises(ConfigError, match="holds a run with another run_seed"):
        run_pretrain(dataclasses.replace(same, seed=7))
    with pytest.raises(ConfigError, match="begun with --source stream; keep it"):
        run_pretrain(dataclasses.replace(same, source="cache"))
    (folder / "kept.json").rename(folder / "run" / "run.json")


def test_a_loss_that_is_no_number_stops_at_once_with_the_images(tmp_path: Path) -> None:
    write_images(str(tmp_path / "images"), patients=30)
    broken = Backbone("resnet10", SIDE).state_dict()
    broken = {name: torch.full_like(value, torch.nan) if value.ndim == 4 else value for name, value in broken.items()}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(ConfigError, match=r"simclr: the loss is nan at step 0; .*images: \['/archive/") as caught:
        run_pretrain(settings(tmp_path, weights=str(tmp_path / "broken.safetensors"), workers=2))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not json.loads((tmp_path / "run" / "started.json").read_text())["has_checkpoint"]


def test_refusals_before_any_work(tmp_path: Path) -> None:
    write_images(str(tmp_path / "images"), patients=30)
    for changed, complaint in (
        ({"batch_size": 4096}, "batch of 4096 is larger than"),
        ({"backbone": "resnet11"}, "backbone 'resnet11' is unknown"),
        ({"source": "stream"}, "set --study-mates 0"),
        ({"side_px": 64}, "--side-px is 64, the stored images have 32"),
        ({"workers": 12}, "leaves less than 2 to each of 12 workers"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            run_pretrain(settings(tmp_path, **changed))
        assert not list(tmp_path.glob("run/*"))  # nothing that would stand in the way of better settings


def test_a_run_is_tuned_further_by_labels_it_may_see(trained: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = trained
    few = {"method": "supervised", "budgets": ("2",), "budget_seeds": 1, "budget_steps": 2, "epochs": 0.3}
    summary = run_pretrain(settings(folder, output=str(folder / "tuned"), weights=str(folder / "run"), **few))
    assert summary["method"] == "simclr_tuned" and summary["networks"] == 2
    run = load_run(str(folder / "tuned" / "budgets" / "2-seed0"))
    assert run.method == "simclr_tuned" and run.budget == "2" and run.head is not None
    again = settings(folder, output=str(folder / "guided"), method="supcon", weights=str(folder / "run"), epochs=0.3)
    assert run_pretrain(again)["method"] == "simclr_supcon"
    seen = weights_for(str(folder / "few"), "2", 0)
    assert seen == str(folder / "few" / "budgets" / "2-seed0" / "backbone.safetensors")
    with pytest.raises(ConfigError, match="saw all labels, and has no network that saw 3 of draw 0"):
        weights_for(str(folder / "few"), "3", 0)


def test_the_recipe_in_the_run_is_what_was_asked_for(trained: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = trained
    recipe = json.loads((folder / "run" / "run.json").read_text())["recipe"]
    assert recipe["batch_size"] == 16 and recipe["views"]["gauges"] == 2
