"""What a network looks at: where the only thing in an image is, for every kind of network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.ensemble.attention import attention, border_share, coarse_attention
from radray.errors import ConfigError
from radray.images.reading import save_cleaning
from radray.pretrain.backbone import Backbone
from radray.pretrain.weights import load_weights
from radray.regions import load_regions
from radray.report.attention import draw_attention
from radray.report.config import ReportConfig
from radray.report.sources import Sources
from radray.report.trust_section import attention_blocks
from tests.probe.drawn_images import SIDE as DRAWN_SIDE
from tests.probe.drawn_images import write_images

SIDE = 64


def bundle_of(name: str, *, own_head: bool = False, side: int = SIDE) -> Bundle:
    torch.manual_seed(0)
    regions = load_regions("skeletal14")
    backbone = Backbone(name, side).eval()
    if name == "efficientnet_lite0":
        load_weights(backbone, "imagenet")
    width = backbone.dimension
    member = Member(
        method="simclr",
        backbone=backbone,
        mean=torch.zeros(width),
        scale=torch.full((width,), 0.05),
        weight=torch.randn(len(regions), width),
        bias=torch.zeros(len(regions)),
        own_head=own_head,
        bank=torch.nn.functional.normalize(torch.randn(10, width), dim=1),
        distances=torch.linspace(0, 1, 10),
        temperature=1.0,
        share=1.0,
        run_digest="run",
    )
    return Bundle(
        regions=regions,
        cleaning=CleaningConfig(side_px=side, working_px=64),
        members=[member],
        temperature=1.0,
        ood_reference=torch.linspace(0, 1, 10),
        confidence_thresholds=(0.1,) * len(regions),
        ood_threshold=1.0,
    )


@pytest.mark.parametrize(
    ("name", "own_head"),
    [("resnet10", False), ("resnet10", True), ("resnet18", False), ("efficientnet_lite0", False)],
)
def test_attention_lies_where_something_is(name: str, own_head: bool) -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(image, (20, 40), 8, 220, -1)
    maps = attention(bundle_of(name, own_head=own_head), np.stack([image, image]), [0, 3])
    assert maps is not None and maps.shape == (2, SIDE, SIDE)
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() == pytest.approx(1)
    near = maps[:, 28:52, 8:32].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert near.max() > 2 * 24 * 24 / SIDE**2
    assert draw_attention(np.stack([image, image]), maps, ["one", "two"])[:4] == b"\x89PNG"


def test_the_bundle_is_left_as_it_was() -> None:
    bundle = bundle_of("resnet10")
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    before = bundle.predict(images).probabilities
    attention(bundle, images, [1, 2, 3])
    np.testing.assert_array_equal(bundle.predict(images).probabilities, before)


@pytest.mark.parametrize("name", ["resnet10", "efficientnet_lite0"])
def test_coarse_attention_lies_there_too(name: str) -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(image, (20, 40), 8, 220, -1)
    maps = coarse_attention(bundle_of(name), np.stack([image] * 4), [0, 3, 5, 7])
    assert maps is not None and maps.ndim == 3 and maps.shape[0] == 4
    assert maps.min() >= 0 and maps.max() == pytest.approx(1)
    side = maps.shape[-1]
    near = maps[:, :, : side // 2].sum(axis=(1, 2)) / np.maximum(maps.sum(axis=(1, 2)), 1e-6)
    assert near.max() > 0.6
    assert len({one.tobytes() for one in maps}) == 4


def test_a_network_without_maps_has_no_attention() -> None:
    assert attention(bundle_of("vit_s"), np.zeros((1, SIDE, SIDE), np.uint8), [0]) is None


def test_the_share_at_the_border() -> None:
    even = np.ones((1, 100, 100), np.float32)
    assert border_share(even)[0] == pytest.approx(0.36)
    middle = np.zeros((1, 100, 100), np.float32)
    middle[0, 40:60, 40:60] = 1
    assert border_share(middle)[0] == pytest.approx(0)


def test_a_plain_network_is_shown_beside(tmp_path: Path) -> None:
    urls = {}
    for name in ("cleaned", "plain"):
        write_images(str(tmp_path / name / "images"))
        bundle_of("resnet10", side=DRAWN_SIDE).save(str(tmp_path / name / "probe" / "bundle"))
        urls[name] = str(tmp_path / name / "probe"), str(tmp_path / name / "images")
    table = storage.read_table(urls["cleaned"][1])
    test = table.select(["row_id", "label"]).append_column("region", table["label"]).slice(0, 8)
    sources = Sources(test=test, bundle=storage.read_json(urls["cleaned"][0] + "/bundle/bundle.json"))
    given = {"probe": urls["cleaned"][0], "images": urls["cleaned"][1], "output": str(tmp_path / "report")}
    one = attention_blocks(sources, ReportConfig(**given))
    both = attention_blocks(sources, ReportConfig(**given, plain_probe=urls["plain"][0], plain_images=urls["plain"][1]))
    assert [block.name for block in one] == ["attention"]
    assert [block.name for block in both] == ["attention", "attention_plain"]
    assert {row["row_id"] for row in both[0].rows} == {row["row_id"] for row in both[1].rows}
    with pytest.raises(ConfigError, match="--plain-probe and --plain-images belong together"):
        ReportConfig(**given, plain_probe=urls["plain"][0])
    with pytest.raises(ConfigError, match="give --probe and --images too"):
        ReportConfig(output="x", index="y", plain_probe=urls["plain"][0], plain_images=urls["plain"][1])


def test_images_that_may_show_names_are_not_reported(tmp_path: Path) -> None:
    url = str(tmp_path / "images")
    write_images(url)
    config = ReportConfig(output=str(tmp_path / "report"), images=url)
    config.check()
    save_cleaning(url, CleaningConfig(side_px=DRAWN_SIDE, working_px=64, mask_text=False))
    with pytest.raises(ConfigError, match="may show burned-in names"):
        config.check()


def test_a_plain_network_of_other_images_is_said_to_be_left_out(tmp_path: Path) -> None:
    url, probe = str(tmp_path / "images"), str(tmp_path / "probe")
    write_images(url)
    bundle_of("resnet10").save(probe + "/bundle")
    table = storage.read_table(url)
    test = table.select(["row_id", "label"]).append_column("region", table["label"]).slice(0, 8)
    sources = Sources(test=test, bundle=storage.read_json(probe + "/bundle/bundle.json"))
    assert attention_blocks(sources, ReportConfig(output="x", probe=probe, images=url)) == []
    assert sources.left_out == [
        f"What it looks at: left out, the images of {url} have {DRAWN_SIDE} pixels, the bundle takes {SIDE}"
    ]
