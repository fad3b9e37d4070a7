"""The bundle: round trip, refusals, and predictions that do not depend on the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.errors import BundleError
from radray.pretrain.backbone import Backbone
from radray.regions import load_regions

SIDE = 32


def member(method: str, seed: int, classes: int) -> Member:
    """A member with random weights."""
    torch.manual_seed(seed)
    backbone = Backbone("resnet10", SIDE).eval()
    dimension = backbone.dimension
    return Member(
        method=method,
        backbone=backbone,
        mean=torch.rand(dimension) * 0.05,
        scale=torch.rand(dimension) * 0.01 + 0.005,
        weight=torch.randn(classes, dimension) * 0.1,
        bias=torch.randn(classes),
        bank=torch.nn.functional.normalize(torch.randn(50, dimension), dim=1),
        distances=torch.linspace(0.5, 1.0, 20),
        temperature=1.3,
        own_head=False,
        share=0.5,
        run_digest=f"run{seed}",
    )


@pytest.fixture
def bundle() -> Bundle:
    """Two members, skeletal14."""
    regions = load_regions("skeletal14")
    return Bundle(
        regions=regions,
        cleaning=CleaningConfig(side_px=SIDE, working_px=64),
        members=[member("simclr", 0, len(regions)), member("byol", 1, len(regions))],
        temperature=0.9,
        ood_reference=torch.linspace(0, 1, 30),
        confidence_thresholds=(0.2,) * len(regions),
        ood_threshold=0.99,
        views=("identity", "flip"),
        facts={"coverage": 0.95, "metrics": {"ensemble": {"accuracy": 0.5}}},
    )


@pytest.fixture
def images() -> np.ndarray:
    """Seven random images."""
    return np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE), np.uint8)


def test_a_saved_bundle_predicts_as_before(bundle: Bundle, images: np.ndarray, tmp_path: Path) -> None:
    digest = bundle.save(str(tmp_path / "bundle"))
    loaded = Bundle.load(str(tmp_path / "bundle"), device="cpu")
    assert loaded.digest == digest
    assert loaded.regions.names == bundle.regions.names
    assert loaded.regions.normalise("HWS seitl.") == "cervical_spine"
    assert loaded.cleaning == bundle.cleaning
    before, after = bundle.predict(images), loaded.predict(images)
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-5)
    np.testing.assert_allclose(after.ood_score, before.ood_score, atol=2e-3)
    np.testing.assert_allclose(after.probabilities.sum(1), 1, atol=1e-5)
    assert list(after.member_probabilities) == ["simclr", "byol"]
    assert "Not a medical device" in (tmp_path / "bundle" / "CARD.md").read_text()


def test_the_same_bundle_has_the_same_digest(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.save(str(tmp_path / "a")) == bundle.save(str(tmp_path / "b"))


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_the_batch_size_changes_nothing(bundle: Bundle, images: np.ndarray, batch: int) -> None:
    whole, parts = bundle.predict(images, batch=7), bundle.predict(images, batch=batch)
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-5)
    np.testing.assert_allclose(parts.ood_score, whole.ood_score, atol=1e-4)


def test_no_images_give_no_predictions(bundle: Bundle) -> None:
    nothing = bundle.predict(np.empty((0, SIDE, SIDE), np.uint8))
    assert len(nothing) == 0
    assert nothing.probabilities.shape == (0, 14)


def test_images_of_another_size_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="32"):
        bundle.predict(np.zeros((1, 16, 16), np.uint8))


@pytest.mark.parametrize(
    "name", ["members/simclr.safetensors", "heads/byol.safetensors", "ensemble.safetensors", "CARD.md"]
)
def test_a_flipped_byte_is_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    bundle.save(str(tmp_path))
    body = bytearray((tmp_path / name).read_bytes())
    body[len(body) // 2] ^= 1
    (tmp_path / name).write_bytes(body)
    with pytest.raises(BundleError, match=f"{name} does not match its digest"):
        Bundle.load(str(tmp_path))


def test_a_changed_document_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(str(tmp_path))
    document = json.loads((tmp_path / "bundle.json").read_text())
    document["confidence_thresholds"] = [0.0]
    storage.write_json(str(tmp_path / "bundle.json"), document)
    with pytest.raises(BundleError, match="does not match its digest"):
        Bundle.load(str(tmp_path))


def test_another_format_is_refused_with_what_to_do(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(str(tmp_path))
    document = json.loads((tmp_path / "bundle.json").read_text())
    storage.write_json(str(tmp_path / "bundle.json"), {**document, "format": 99})
    with pytest.raises(BundleError, match="format 99.*build the bundle again"):
        Bundle.load(str(tmp_path))


@pytest.mark.parametrize("name", ["model.pkl", "weights.pt", "run.py"])
def test_files_that_could_run_are_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    bundle.save(str(tmp_path))
    (tmp_path / "members" / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="does not belong"):
        Bundle.load(str(tmp_path))


def test_an_empty_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle is there"):
        Bundle.load(str(tmp_path))
