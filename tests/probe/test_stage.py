"""The probe stage end to end on a tiny images table of drawn shapes, with random backbones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as csv
import pytest
import torch

from radray import storage
from radray.ensemble import Bundle
from radray.errors import ConfigError
from radray.pretrain.run import load_run, save_run
from radray.probe.config import ProbeConfig
from radray.probe.logistic import fit_heads
from radray.probe.stage import find_runs, run_probe
from radray.regions import load_regions
from tests.probe.drawn_images import REGIONS, SIDE, draw, write_images
from tests.probe.runs import write_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], ProbeConfig]:
    """Output folder, summary and configuration of one run of the stage."""
    place = tmp_path_factory.mktemp("probe")
    truth = write_images(str(place / "images"), wrong=6)
    storage.write_table(str(place / "truth.parquet"), truth)
    write_run(str(place / "runs" / "simclr"), "simclr", seed=0)
    write_run(str(place / "runs" / "byol"), "byol", seed=1)
    write_run(str(place / "runs" / "supervised"), "supervised", seed=2, budget="all")
    for seed in range(2):
        folder = place / "runs" / "supervised" / "budgets" / f"2-seed{seed}"
        write_run(str(folder), "supervised", seed=seed, budget="2")
    config = ProbeConfig(
        images=str(place / "images"),
        runs=(str(place / "runs"),),
        output=str(place / "probe"),
        truth=str(place / "truth.parquet"),
        budgets=("2", "5", "all"),
        seeds=2,
    )
    config.check()
    return place / "probe", run_probe(config), config


def test_random_features_of_easy_shapes_are_told_apart(probe: tuple[Path, dict[str, Any], ProbeConfig]) -> None:
    _, summary, _ = probe
    assert summary["rows_in"] == summary["rows_out"] == 120
    assert summary["accuracy_on_truth"]["ensemble"]["all"] >= 0.9
    for method in ("simclr", "byol", "ensemble"):
        assert set(summary["accuracy"][method]) == {"2", "5", "all"}
    assert sum(summary["members"].values()) == pytest.approx(1, abs=0.01)


def test_a_method_that_saw_all_labels_has_no_few_label_figure_of_that_run(
    probe: tuple[Path, dict[str, Any], ProbeConfig],
) -> None:
    _, summary, _ = probe
    assert set(summary["accuracy"]["supervised"]) == {"2", "all"}


def test_the_bundle_says_what_the_tables_say(probe: tuple[Path, dict[str, Any], ProbeConfig]) -> None:
    output, summary, config = probe
    bundle = Bundle.load(str(output / "bundle"), device="cpu")
    assert bundle.digest == summary["bundle"]
    table = storage.read_table(str(output / "test_predictions.parquet")).to_pandas()
    table = table[table["method"] == "ensemble"].set_index("uri")
    images = storage.read_table(config.images, columns=["uri", "image", "split"]).to_pandas()
    images = images[images["split"] == "test"].set_index("uri").loc[table.index]
    pixels = np.stack([np.frombuffer(body, np.uint8).reshape(SIDE, SIDE) for body in images["image"]])
    found = bundle.predict(pixels)
    np.testing.assert_allclose(found.probabilities, np.stack(table["probabilities"]), atol=5e-3)
    np.testing.assert_allclose(found.ood_score, table["ood_score"], atol=2e-2)
    names = np.array(bundle.regions.names)[found.region]
    assert (names == table["region"]).all()


def test_a_region_without_training_image_is_named_in_no_image(probe: tuple[Path, dict[str, Any], ProbeConfig]) -> None:
    place, summary, _ = probe
    absent = set(summary["regions_without_training_image"])
    assert absent == set(load_regions("skeletal14").names) - {"knee", "hand", "skull", "ribs"}
    assert summary["labels_outside_classes"] == {} and summary["regions_with_one_training_image"] == []
    predicted = storage.read_table(str(place / "test_predictions.parquet"))["region"].to_pylist()
    assert predicted and not absent & set(predicted)


def test_out_of_domain_images_score_higher(probe: tuple[Path, dict[str, Any], ProbeConfig]) -> None:
    output, _, _ = probe
    bundle = Bundle.load(str(output / "bundle"), device="cpu")
    rng = np.random.default_rng(3)
    inside = np.stack([draw(region, rng) for region in REGIONS for _ in range(10)])
    noise = rng.integers(0, 256, (20, SIDE, SIDE), np.uint8)
    assert np.median(bundle.predict(noise).ood_score) > np.median(bundle.predict(inside).ood_score)
    assert bundle.predict(noise).abstained.mean() > bundle.predict(inside).abstained.mean()


def test_out_of_fold_covers_every_image_and_finds_wrong_labels(
    probe: tuple[Path, dict[str, Any], ProbeConfig],
) -> None:
    output, _, _ = probe
    table = storage.read_table(str(output / "out_of_fold.parquet")).to_pandas()
    assert table.groupby("method").size().to_dict() == dict.fromkeys(("simclr", "byol", "supervised", "ensemble"), 120)
    names = load_regions("skeletal14").names
    ensemble = table[table["method"] == "ensemble"].sort_values("uri")
    own = np.stack(ensemble["probabilities"])
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-4)
    for number in range(6):
        true, given = REGIONS[number // 2 % 4], REGIONS[(number // 2 + 1) % 4]
        assert own[number, names.index(true)] > own[number, names.index(given)]
    saw = table[table["backbone_saw_label"]]
    assert set(saw["method"]) == {"supervised"}


def test_every_figure_is_in_the_tables(probe: tuple[Path, dict[str, Any], ProbeConfig]) -> None:
    output, summary, _ = probe
    accuracy = csv.read_csv(output / "accuracy.csv").to_pandas()
    chosen = accuracy[(accuracy["method"] == "simclr") & (accuracy["budget"] == "5") & (accuracy["against"] == "label")]
    assert sorted(chosen["seed"]) == [0, 1]
    assert chosen["accuracy"].mean() == pytest.approx(summary["accuracy"]["simclr"]["5"], abs=1e-4)
    confusion = csv.read_csv(output / "confusion.csv").to_pandas()
    own = confusion[(confusion["method"] == "ensemble") & (confusion["against"] == "truth")]
    right = own[own["label"] == own["predicted"]]["images"].sum() / own["images"].sum()
    assert right == pytest.approx(summary["accuracy_on_truth"]["ensemble"]["all"], abs=1e-4)
    assert len(csv.read_csv(output / "knn.csv")) == 6
    comparison = csv.read_csv(output / "comparison.csv").to_pandas().set_index(["method", "against"])
    every = accuracy[(accuracy["budget"] == "all") & (accuracy["against"] == "truth")].set_index("method")["accuracy"]
    for method in ("simclr", "byol", "supervised"):
        row = comparison.loc[(method, "truth")]
        assert row["ensemble_less_method"] == pytest.approx(every["ensemble"] - every[method])
        assert row["low"] <= row["ensemble_less_method"] <= row["high"]
    groups = csv.read_csv(output / "subgroups.csv").to_pandas()
    assert set(groups["value"]) == {"not stated"} and set(groups["fact"]) >= {"sex", "station"}
    trust = summary["ensemble"]["truth"]
    assert trust["error"] == pytest.approx(1 - every["ensemble"], abs=1e-4)
    assert trust["calibration_error_low"] <= trust["calibration_error_debiased"] <= trust["calibration_error_high"]


def test_a_second_run_embeds_nothing_and_says_the_same(
    probe: tuple[Path, dict[str, Any], ProbeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    _, summary, config = probe
    assert run_probe(config) == summary
    assert "embed" not in capsys.readouterr().err


def test_truth_changes_nothing_but_figures(probe: tuple[Path, dict[str, Any], ProbeConfig], tmp_path: Path) -> None:
    _, summary, config = probe
    blind = run_probe(dataclasses.replace(config, truth=None, output=str(tmp_path)))
    assert blind["bundle"] == summary["bundle"]
    assert "accuracy_on_truth" not in blind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": ("0",)}, "label budget '0'"),
        ({"folds": 1}, "--folds is 1"),
        ({"l2": ()}, "--l2"),
        ({"runs": ()}, "--runs is empty"),
        ({"views": ("flop",)}, "--views is \\['flop'\\]"),
        ({"risk": 0.9}, "--risk is 0.9"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**{"images": "images", "runs": ("runs",), "output": "probe", **change})


def test_runs_of_another_size_and_images_without_labels_are_refused(tmp_path: Path) -> None:
    write_images(str(tmp_path / "images"), patients=12)
    write_run(str(tmp_path / "runs" / "simclr"), "simclr", seed=0, side_px=64)
    config = ProbeConfig(images=str(tmp_path / "images"), runs=(str(tmp_path / "runs"),), output=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="64 pixels"):
        run_probe(config)
    alone = dataclasses.replace(config, runs=("imagenet",))
    alone.check()
    assert [(run.method, run.side_px) for run in find_runs(alone).values()] == [("imagenet", 128)]
    (tmp_path / "classes.json").write_text('{"name": "two", "regions": ["pelvis", "chest"]}')
    write_run(str(tmp_path / "runs" / "simclr"), "simclr", seed=0)
    with pytest.raises(ConfigError, match="fewer than two regions"):
        run_probe(dataclasses.replace(config, regions=str(tmp_path / "classes.json")))


def test_the_networks_own_head_is_taken_where_it_explains_validation_better(tmp_path: Path) -> None:
    truth = write_images(str(tmp_path / "images"))
    write_run(str(tmp_path / "runs" / "supervised"), "supervised", seed=2, budget="all")
    run = load_run(str(tmp_path / "runs" / "supervised"))
    table = storage.read_table(str(tmp_path / "images")).sort_by("uri")
    pixels = np.stack([np.frombuffer(body, np.uint8).reshape(SIDE, SIDE) for body in table["image"].to_pylist()])
    features, names = run.backbone.embed(torch.from_numpy(pixels)), load_regions("skeletal14").names
    known = dict(zip(truth["uri"].to_pylist(), truth["region"].to_pylist(), strict=True))
    labels = torch.tensor([names.index(known[uri]) for uri in table["uri"].to_pylist()])
    scale = float(features.std())
    fitted = fit_heads(features / scale, labels, torch.ones(1, len(labels)), torch.tensor([1e-5]), len(names))
    head = {"weight": fitted.weight[0] / scale, "bias": fitted.bias[0]}
    document = {"method": "supervised", "seed": 2, "regions": names, "budget": "all"}
    save_run(str(tmp_path / "runs" / "supervised"), run.backbone, head, document)

    def probed(l2: float) -> Bundle:
        url = str(tmp_path / f"probe{l2}")
        run_probe(
            ProbeConfig(
                images=str(tmp_path / "images"),
                runs=(str(tmp_path / "runs"),),
                output=url,
                budgets=("all",),
                l2=(l2,),
                views=("identity",),
                pose=False,
            )
        )
        return Bundle.load(url + "/bundle", device="cpu")

    useless = probed(1e6)
    assert useless.members[0].own_head
    found = useless.predict(pixels)
    assert (found.region == labels.numpy()).mean() > 0.95
    logits = (features @ head["weight"].T + head["bias"]) / useless.members[0].temperature
    expected = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(found.member_probabilities["supervised"], expected, atol=2e-3)
