import dataclasses
import json

import cv2
import numpy as np
import pytest

from radray.cleaning import CleaningConfig, clean
from radray.cleaning.annotations import find_annotations, find_strokes, paint_over
from radray.cleaning.geometry import Box, find_borders, fit_square, shrink
from radray.cleaning.intensity import clip_unit, quantiles, stretch, tone_exponent
from radray.errors import ConfigError, ObjectError, Reason


@pytest.mark.parametrize("shape", [(32, 40), (100, 37), (257, 511), (900, 700)])
@pytest.mark.parametrize("side", [16, 64, 129])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_gives_a_square_of_bytes(limb, shape, side, dtype):
    image = cv2.resize(limb(), shape[::-1]).astype(dtype)
    before = image.copy()
    cleaned = clean(image, CleaningConfig(side_px=side))
    assert cleaned.image.shape == (side, side)
    assert cleaned.image.dtype == np.uint8
    assert cleaned.image.max() > 150
    assert np.array_equal(before, image)
    left, top, right, bottom = cleaned.crop_box
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1


@pytest.mark.parametrize("low, high", [(0.01, 0.99), (0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("size", [7, 1000, 50_000])
def test_quantiles_agree_with_numpy(low, high, size):
    values = np.random.default_rng(size).random(size).astype(np.float32) ** 2
    assert quantiles(values, low, high) == pytest.approx(
        np.quantile(values, [low, high], method="closest_observation"), abs=0.02 if size > 7 else 0.2
    )


def test_stretch_is_the_formula():
    grey = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    assert np.allclose(stretch(grey, 0.2, 0.7), np.clip((grey - 0.2) / 0.5, 0, 1), atol=1e-5)


def test_brightness_and_contrast_of_the_scanner_hardly_matter(limb):
    image = limb()
    first = clean(image, CleaningConfig()).image.astype(int)
    second = clean((0.1 + 0.5 * image).astype(np.float32), CleaningConfig()).image.astype(int)
    assert np.abs(first - second).mean() < 2


def test_tone_moves_the_median_of_the_foreground():
    grey = np.random.default_rng(0).uniform(0.1, 0.4, (64, 64)).astype(np.float32)
    exponent = tone_exponent(grey, np.full((64, 64), 255, np.uint8), 0.5)
    assert np.median(grey**exponent) == pytest.approx(0.5, abs=0.01)
    assert tone_exponent(grey, np.zeros((64, 64), np.uint8), 0.5) == 1


def test_values_that_are_no_numbers_become_black():
    grey = np.array([[np.nan, np.inf, -np.inf, -0.5, 0.25, 2.0]], np.float32)
    assert clip_unit(grey).tolist() == [[0, 1, 0, 0, 0.25, 1]]


def test_shrink_is_the_area_average():
    grey = np.random.default_rng(0).random((60, 90)).astype(np.float32)
    slow = np.array([[grey[3 * r : 3 * r + 3, 3 * c : 3 * c + 3].mean() for c in range(30)] for r in range(20)])
    assert np.allclose(shrink(grey, 30), slow, atol=1e-5)
    assert shrink(grey, 200) is grey


@pytest.mark.parametrize("shape", [(50, 100), (100, 50), (64, 64), (3, 64)])
def test_fit_square_centres_and_pads_with_black(shape):
    square = fit_square(np.ones(shape, np.float32), 32)
    rows, columns = (square > 0.5).any(axis=1).sum(), (square > 0.5).any(axis=0).sum()
    assert max(rows, columns) == 32
    assert rows / columns == pytest.approx(shape[0] / shape[1], rel=0.5)
    assert np.allclose(square, square[::-1])


def test_letterbox_and_bright_strip_are_cut_and_anatomy_is_not(limb):
    inner = limb(200, 160)
    image = np.zeros((260, 240), np.float32)
    image[30:230, 40:200] = inner
    box, flags = find_borders(image)
    assert box == Box(40, 30, 200, 230)
    assert flags == ("letterbox_cropped",)
    strip = inner.copy()
    strip[-12:] = 1.0
    box, flags = find_borders(strip)
    assert flags == ("bright_strip_cropped",)
    assert 185 <= box.bottom <= 188
    assert find_borders(inner)[0] == Box(0, 0, 160, 200)


def test_bright_strips_that_meet_leave_the_whole_image():
    image = np.zeros((200, 200), np.float32)
    image[90:98] = np.array([1, 1, 1, 0.3, 0.3, 1, 1, 1], np.float32)[:, None]
    box, _ = find_borders(image)
    assert box.area > 0


def test_burned_in_text_is_gone_and_a_marker_stays(limb):
    image = limb(512, 480)
    letters = np.zeros(image.shape, np.uint8)
    cv2.putText(letters, "DOE JANE 19530211", (12, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    cv2.putText(letters, "R", (430, 250), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    image = np.maximum(image, letters.astype(np.float32) / 255)
    found = find_annotations(stretch(image, *quantiles(image, 0.01, 0.99)))
    assert min(box.left for box in found.text) <= 14
    end = np.flatnonzero(letters[:60, :400].any(axis=0)).max()
    assert max(box.right for box in found.text) >= end - 3
    assert [box for box in found.markers if 425 <= box.left <= 436 and box.right <= 460]
    config = CleaningConfig(side_px=480, crop_anatomy=False, tone="none")
    cleaned = clean(image, config)
    assert {"text_found", "text_masked", "marker_found"} <= set(cleaned.flags)
    kept = cleaned.image[:40, :200]
    assert (kept > 200).sum() == 0
    assert (cleaned.image[210:260, 400:470] > 200).sum() > 20
    forced = clean(image, config, burned_in=True)
    assert "marker_masked" in forced.flags
    assert (forced.image[210:240, 400:470] > 200).sum() == 0
    assert (clean(image, dataclasses.replace(config, mask_text=False)).image[:40, :200] > 200).sum() > 100


def test_bone_is_not_taken_for_text(limb):
    for seed in range(5):
        assert find_annotations(limb(512, 480, seed)).text == ()


def test_strokes_are_what_the_slow_top_hat_finds():
    levels = (np.random.default_rng(0).random((24, 20)) * 255).astype(np.uint8)
    padded_low = np.pad(levels.astype(int), 2, constant_values=255)
    eroded = np.array([[padded_low[r : r + 5, c : c + 5].min() for c in range(20)] for r in range(24)])
    padded_high = np.pad(eroded, 2, constant_values=0)
    opened = np.array([[padded_high[r : r + 5, c : c + 5].max() for c in range(20)] for r in range(24)])
    slow = (levels.astype(int) - opened) >= 0.4 * 255
    assert np.array_equal(find_strokes(levels, 0.4, cv2.MORPH_TOPHAT) > 0, slow)


def test_paint_over_leaves_the_rest_alone(limb):
    image = limb(100, 100)
    painted = paint_over(image, (Box(10, 10, 30, 20),))
    assert np.array_equal(painted[40:], image[40:])
    assert np.ptp(painted[12:18, 12:28]) == 0


def test_cleaning_a_cleaned_image_changes_little(limb):
    config = CleaningConfig(side_px=256, crop_anatomy=False, crop_borders=False)
    first = clean(limb(), config).image
    second = clean(first.astype(np.float32) / 255, config).image
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 4


def test_same_image_same_result(limb):
    assert np.array_equal(clean(limb(), CleaningConfig()).image, clean(limb(), CleaningConfig()).image)


@pytest.mark.parametrize(
    "image, reason",
    [
        (np.zeros((64, 64), np.float32), Reason.BLANK_IMAGE),
        (np.full((64, 64), 0.7, np.float32), Reason.BLANK_IMAGE),
        (np.random.default_rng(0).random((16, 64)).astype(np.float32), Reason.ODD_SHAPE),
        (np.random.default_rng(0).random((40, 400)).astype(np.float32), Reason.ODD_SHAPE),
        (np.zeros((3, 64, 64), np.float32), Reason.ODD_SHAPE),
        (np.full((64, 64), np.nan, np.float32), Reason.BLANK_IMAGE),
    ],
)
def test_unusable_images_have_a_reason(image, reason):
    with pytest.raises(ObjectError) as caught:
        clean(image, CleaningConfig())
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "wrong", [{"side_px": 8}, {"low_quantile": 0.7}, {"tone": "sepia"}, {"working_px": 100}, {"max_aspect": True}]
)
def test_bad_configuration_names_the_field(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CleaningConfig(**wrong)


def test_configuration_survives_json(limb):
    config = CleaningConfig(side_px=96, tone="local")
    assert CleaningConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
    assert clean(limb(), config).image.shape == (96, 96)
