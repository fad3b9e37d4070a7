"""Views: per-sample draws, a slow twin of the geometry, gauges, reproducibility."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from radray.views.augment import _blur, _coarse, draw_views, render_views
from radray.views.config import ViewConfig, crop_views, pretraining_views, probing_views
from radray.views.gauge import paste_gauges, synthetic_gauges

STILL = dataclasses.replace(crop_views(), crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0)
"""A view that changes nothing."""


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 40, 40), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def render(images: torch.Tensor, side: int = 40, seed: tuple[int, ...] = (0,), **changes: object) -> torch.Tensor:
    gauges = synthetic_gauges(images.shape[-1])
    draws = draw_views(dataclasses.replace(STILL, **changes), len(images), len(gauges.grey), seed)  # type: ignore[arg-type]
    return render_views(images, draws, gauges, side)


def test_a_still_view_is_the_image(images: torch.Tensor) -> None:
    assert torch.allclose(render(images)[:, 0], images / 255, atol=1e-5)


def test_flip_mirrors_left_and_right(images: torch.Tensor) -> None:
    assert torch.allclose(render(images, flip=1.0)[:, 0], images.flip(2) / 255, atol=1e-5)


def test_quarter_turns_are_exact(images: torch.Tensor) -> None:
    turned = render(images, quarter_turn=1.0)[:, 0]
    for view, image in zip(turned, images / 255, strict=True):
        assert any(torch.allclose(view, torch.rot90(image, k), atol=1e-4) for k in (1, 2, 3))


def test_inversion_and_cutout(images: torch.Tensor) -> None:
    assert torch.allclose(render(images, inversion=1.0)[:, 0], 1 - images / 255, atol=1e-5)
    blanked = (render(images + 1, cutout=1.0) == 0).flatten(1).sum(dim=1)
    assert (blanked > 0).all() and (blanked < 0.5 * 40 * 40).all()


def test_resampling_matches_a_slow_twin() -> None:
    """Bilinear interpolation at theta · (x, y, 1), pixel by pixel."""
    images = torch.randint(0, 256, (3, 24, 24), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    config = dataclasses.replace(STILL, rotation_deg=20, shear_deg=15, scale=(0.8, 1.5), crop_area=(0.4, 1.0))
    gauges = synthetic_gauges(24)
    draws = draw_views(config, 3, len(gauges.grey), (7,))
    fast = render_views(images, draws, gauges, 16)[:, 0].numpy()
    for number in range(3):
        image, theta = images[number].numpy() / 255, draws.theta[number].numpy()
        for row in range(16):
            for column in range(16):
                x, y = theta @ np.array([(2 * column + 1) / 16 - 1, (2 * row + 1) / 16 - 1, 1.0])
                across, down = ((x + 1) * 24 - 1) / 2, ((y + 1) * 24 - 1) / 2
                value = 0.0
                for i in (int(np.floor(down)), int(np.floor(down)) + 1):
                    for j in (int(np.floor(across)), int(np.floor(across)) + 1):
                        if 0 <= i < 24 and 0 <= j < 24:
                            value += image[i, j] * (1 - abs(down - i)) * (1 - abs(across - j))
                assert fast[number, row, column] == pytest.approx(value, abs=2e-4)


def test_every_image_has_draws_of_its_own() -> None:
    same = torch.full((8, 32, 32), 128, dtype=torch.uint8)
    same[:, 8:24, 12:20] = 220
    views = render_views(same, draw_views(pretraining_views(), 8, 144, (3,)), synthetic_gauges(32), 32)
    distances = torch.cdist(views.flatten(1), views.flatten(1))
    assert distances[~torch.eye(8, dtype=torch.bool)].min() > 0.1


@pytest.mark.parametrize("config", [pretraining_views(), probing_views()])
def test_views_are_reproducible_and_in_range(images: torch.Tensor, config: ViewConfig) -> None:
    gauges = synthetic_gauges(40)
    draws = [draw_views(config, 6, len(gauges.grey), seed) for seed in ((1, 2), (1, 2), (1, 3))]
    first, again, other = (render_views(images, each, gauges, 32) for each in draws)
    assert first.shape == (6, 1, 32, 32) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_rank_gets_its_rows_of_the_global_draws() -> None:
    draws = draw_views(pretraining_views(), 8, 10, (5,))
    assert torch.equal(draws.rows(2, 5).theta, draws.theta[2:5])
    assert torch.equal(draws.rows(2, 5).gauge_place, draws.gauge_place[2:5])


def test_gauges_match_a_slow_twin() -> None:
    library = synthetic_gauges(48, count=6)
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(5, 48, 48, generator=generator)
    chosen = torch.tensor([[0, 3], [-1, 2], [5, -1], [-1, -1], [7, 7]])
    places, opacity = torch.rand(5, 2, 2, generator=generator), torch.rand(5, 2, generator=generator)
    fast = paste_gauges(images, library, chosen, places, opacity)
    size = library.alpha.shape[-1]
    for number in range(5):
        slow = images[number].clone()
        for slot in range(2):
            if chosen[number, slot] < 0:
                continue
            top, left = (places[number, slot] * (48 - size)).long().tolist()
            alpha = library.alpha[chosen[number, slot]] * opacity[number, slot]
            window = slow[top : top + size, left : left + size]
            window += alpha * (library.grey[chosen[number, slot]] - window)
        assert torch.allclose(fast[number], slow, atol=1e-6)
    assert torch.equal(fast[3], images[3])


def test_blur_and_coarse_grey_match_torchs_own(images: torch.Tensor) -> None:
    view = images[:, None].float() / 255
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    kernel = torch.outer(weights, weights)[None, None] / 256
    blurred = torch.nn.functional.conv2d(torch.nn.functional.pad(view, (2, 2, 2, 2), mode="replicate"), kernel)
    assert torch.allclose(_blur(view), blurred, atol=1e-5)
    small = torch.nn.functional.adaptive_avg_pool2d(view, 6)
    coarse = torch.nn.functional.interpolate(small, size=view.shape[-2:], mode="bilinear", align_corners=False)
    assert torch.allclose(_coarse(view), coarse, atol=1e-5)
