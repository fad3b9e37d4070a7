"""Every backbone takes grey images and gives features; weights come from files, and only from fitting ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from radray.ensemble.features import CPU_IMAGES, embed, fold_batch_norm
from radray.errors import ConfigError
from radray.pretrain.backbone import BACKBONES, Backbone
from radray.pretrain.weights import load_weights

DIMENSIONS = {
    "resnet10": 256,
    "resnet18": 512,
    "efficientnet_lite0": 1280,
    "resnet34": 512,
    "resnet50": 2048,
    "convnext_tiny": 768,
    "vit_s": 384,
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_features_of_grey_images(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, 48)
    images = torch.randint(0, 255, (2, 48, 48), dtype=torch.uint8)
    features = backbone.embed(images)
    assert features.shape == (2, DIMENSIONS[name]) == (2, backbone.dimension)
    assert torch.isfinite(features).all() and not torch.allclose(features[0], features[1])
    assert torch.allclose(features, backbone.embed(torch.cat([images, images]))[:2], atol=1e-3)
    larger = torch.randint(0, 255, (2, 96, 96), dtype=torch.uint8)
    assert backbone.embed(larger).shape == features.shape


def test_vit_wants_whole_patches() -> None:
    with pytest.raises(ConfigError, match="patches of 16 pixels; --side-px 40"):
        Backbone("vit_s", 40)


def test_colour_weights_give_what_grey_in_three_channels_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    colour = resnet18().eval()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in colour.state_dict().items()}}, tmp_path / "w.pt"
    )
    backbone = Backbone("resnet18", 64).eval()
    load_weights(backbone, str(tmp_path / "w.pt"))
    grey = torch.rand(2, 1, 64, 64)
    colour.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.allclose(backbone.network(grey), colour(grey.expand(-1, 3, -1, -1)), atol=1e-4)


def test_a_run_s_own_weights_come_back(tmp_path: Path) -> None:
    trained, fresh = Backbone("resnet10", 32), Backbone("resnet10", 32)
    save_file(trained.state_dict(), tmp_path / "backbone.safetensors")
    load_weights(fresh, str(tmp_path / "backbone.safetensors"))
    for one, other in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_other_weights_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = Backbone("resnet10", 32)
    torch.save(resnet18().state_dict(), tmp_path / "other.pt")
    (tmp_path / "noise.safetensors").write_bytes(b"no weights")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Code(), protocol=2))
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({1: torch.ones(2)}, tmp_path / "numbers.pt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise.pt").write_bytes(b"some text that is no file of torch's")
    for name, complaint in (
        ("other.pt", "is not of resnet10 at 32 px"),
        ("noise.safetensors", "cannot be read as weights"),
        ("code.pt", "cannot be read as weights"),
        ("list.pt", "no state dict"),
        ("numbers.pt", "no state dict"),
        ("folder", "cannot be read as weights"),
        ("noise.pt", "cannot be read as weights"),
    ):
        with pytest.raises(ConfigError, match=complaint) as caught:
            load_weights(backbone, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "efficientnet_lite0", "convnext_tiny", "vit_s"])
def test_folded_batch_norm_gives_the_same_features(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, 64)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    images = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    folded = fold_batch_norm(backbone)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded.embed(images), backbone.embed(images), rtol=1e-4, atol=1e-4)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules()) == (
        name[:3] in ("res", "eff")
    )


@pytest.mark.parametrize("name", ["resnet10", "efficientnet_lite0"])
def test_however_many_images_come_together_the_features_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    folded = fold_batch_norm(Backbone(name, 64))
    images = torch.randint(0, 256, (CPU_IMAGES + 3, 64, 64), dtype=torch.uint8)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # as in a worker: some ways are for one thread only
        whole = embed(folded, images)
        for count in (1, 2, CPU_IMAGES - 1, CPU_IMAGES):
            parts = torch.cat([embed(folded, part) for part in images.split(count)])
            torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16):
        half = embed(folded, images[:2])
    assert 1e-6 < (half - whole[:2]).abs().max() < 0.1 * whole.abs().max()
