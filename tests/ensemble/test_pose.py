"""Turned images: the arithmetic of four looks, and a bundle that puts right what lies askew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radray.ensemble import Bundle
from radray.ensemble.config import ExportConfig
from radray.ensemble.exporting import run_export
from radray.ensemble.pose import INVERTED, POSES, PRIOR, TURNS, Pose, is_inverted, posterior, turn_back, turn_evidence
from radray.errors import ConfigError
from tests.ensemble.test_bundle import SIDE, bundle, images  # noqa: F401 (fixtures)


def test_turning_back_undoes_a_turn(images: np.ndarray) -> None:  # noqa: F811
    for turn in range(TURNS):
        turned = torch.from_numpy(np.rot90(images, turn, (1, 2)).copy())
        assert torch.equal(turn_back(turned, turn), torch.from_numpy(images))


@pytest.mark.parametrize("turn", range(TURNS))
def test_four_looks_agree_on_the_turn(turn: int) -> None:
    # Each look at an image turned by `turn` and turned back by `back` sees a turn of `turn - back`.
    looks = torch.full((TURNS, 1, POSES), -3.0)
    for back in range(TURNS):
        looks[back, 0, (turn - back) % TURNS] = -0.1
    assert int(turn_evidence(looks).argmax()) == turn


def test_the_posterior_is_bayes_rule() -> None:
    likelihood = torch.tensor([[0.1, 0.2, 0.3, 0.2, 0.2]])
    expected = likelihood * torch.tensor(PRIOR)
    torch.testing.assert_close(posterior(likelihood.log()), expected / expected.sum())
    assert sum(PRIOR) == pytest.approx(1)


def test_an_inverted_image_must_look_better_the_other_way_round() -> None:
    assert is_inverted(0.9, 0.01)
    assert not is_inverted(0.9, 0.95)
    assert not is_inverted(0.01, 0.0)
    assert not is_inverted(0.06, 0.055)  # hardly better the other way round, and inversion is rare
    assert is_inverted(0.06, 0.001)


def test_a_bundle_answers_turned_images_as_upright_ones(bundle: Bundle, images: np.ndarray) -> None:  # noqa: F811
    bundle.views = ("identity",)
    member = bundle.members[0]
    turned = [torch.from_numpy(np.rot90(images, turn, (1, 2)).copy()) for turn in range(TURNS)]
    turned.append(torch.from_numpy(255 - images))
    features = torch.cat([member.standardise(bundle.features(pixels)[0]) for pixels in turned])
    # A head that knows these very images: the pseudo-inverse of their features.
    wanted = 20 * torch.eye(POSES).repeat_interleave(len(images), dim=0)
    solved = torch.linalg.lstsq(torch.cat([features, torch.ones(len(features), 1)], dim=1), wanted, driver="gelsd")
    weight = solved.solution
    bundle.pose = Pose(method="simclr", weight=weight[:-1].T, bias=weight[-1], temperature=1.0)

    upright = bundle.predict(images)
    assert not upright.turned.any() and (upright.inverted < 0.01).all()
    for turn in range(1, TURNS):
        found = bundle.predict(turned[turn].numpy(), batch=3)
        assert (found.turned == turn).all()
        np.testing.assert_allclose(found.probabilities, upright.probabilities, atol=1e-3)
        np.testing.assert_allclose(found.ood_score, upright.ood_score, atol=1e-2)
    assert (bundle.predict(turned[INVERTED].numpy()).inverted > 0.99).all()
    assert images.shape[1] == SIDE


def test_a_saved_bundle_keeps_its_pose(bundle: Bundle, tmp_path: Path) -> None:  # noqa: F811
    weight = torch.randn(POSES, bundle.members[0].backbone.dimension)
    bundle.pose = Pose(method="simclr", weight=weight, bias=torch.randn(POSES), temperature=0.8, turn_temperature=2.0)
    bundle.save(str(tmp_path))
    loaded = Bundle.load(str(tmp_path), device="cpu").pose
    assert loaded is not None
    assert (loaded.method, loaded.temperature, loaded.turn_temperature) == ("simclr", 0.8, 2.0)
    assert torch.equal(loaded.weight, weight)


def test_an_exported_program_says_what_the_bundle_says(bundle: Bundle, tmp_path: Path) -> None:  # noqa: F811
    width = bundle.members[0].backbone.dimension
    bundle.pose = Pose(
        method="simclr", weight=torch.randn(POSES, width) * 0.05, bias=torch.zeros(POSES), temperature=1.0
    )
    bundle.save(str(tmp_path / "bundle"))
    config = ExportConfig(bundle=str(tmp_path / "bundle"), output=str(tmp_path / "export"))
    config.check()
    assert run_export(config)["largest_difference"] < 1e-3
    program = torch.export.load(str(tmp_path / "export" / "bundle.pt2")).module()
    some = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE), np.uint8)
    expected = bundle.predict(some)
    assert 0 < (expected.turned > 0).sum() < 9
    probabilities, ood_score, turned, inverted = program(torch.from_numpy(some))
    np.testing.assert_allclose(probabilities.detach(), expected.probabilities, atol=1e-3)
    np.testing.assert_allclose(ood_score.detach(), expected.ood_score, atol=1e-3)
    np.testing.assert_array_equal(turned, expected.turned)
    np.testing.assert_allclose(inverted.detach(), expected.inverted, atol=1e-3)
    with pytest.raises(ConfigError, match="inside --bundle"):
        ExportConfig(bundle=str(tmp_path / "bundle"), output=str(tmp_path / "bundle" / "x")).check()
    ExportConfig(bundle=str(tmp_path / "bundle"), output=str(tmp_path / "bundle_export")).check()
