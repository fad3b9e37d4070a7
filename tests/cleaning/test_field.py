import cv2
import numpy as np
import pytest

from radray.cleaning import CleaningConfig, clean, find_exposed_field
from radray.cleaning.plate import clip_half_plane, find_plate
from radray.cleaning.shapes import upright_turn

from .conftest import overlap


def collimate(image, polygon, outside, rim):
    mask = np.zeros(image.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(polygon) * 16 - 8).astype(np.int32)], 1, shift=4)
    out = np.where(mask > 0, image, np.float32(outside))
    if rim:
        cv2.polylines(out, [np.round(polygon).astype(np.int32)], True, 1.0, 2)
    return out.astype(np.float32)


def rectangle(columns, rows, width, height, tilt):
    return cv2.boxPoints(((columns / 2 + 5, rows / 2 - 3), (width, height), tilt)).astype(np.float32)


@pytest.mark.parametrize("outside", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("rim", [False, True])
@pytest.mark.parametrize("tilt", [0, 4, 12, 27, 44, -9, -31])
def test_rectangular_field_is_found_and_turned_upright(limb, outside, rim, tilt):
    polygon = rectangle(360, 400, 190, 250, tilt)
    image = collimate(limb(), polygon, outside, rim)
    field = find_exposed_field(image)
    assert field.kind == "rectangle"
    assert overlap(field.polygon, polygon, image.shape) > 0.95
    assert abs(upright_turn(tilt) - field.angle_deg) < 1


def test_overlap_over_many_fields(limb):
    rng = np.random.default_rng(1)
    overlaps = []
    for seed in range(40):
        polygon = rectangle(360, 400, rng.uniform(120, 230), rng.uniform(120, 260), rng.uniform(-45, 45))
        image = collimate(limb(seed=seed), polygon, rng.choice([0.0, 1.0]), rng.random() < 0.5)
        overlaps.append(overlap(find_exposed_field(image).polygon, polygon, image.shape))
    assert np.median(overlaps) > 0.97
    assert np.quantile(overlaps, 0.05) > 0.9


@pytest.mark.parametrize("outside", [0.0, 1.0])
@pytest.mark.parametrize("axes", [(140, 140), (150, 100)])
def test_round_field_is_found_and_not_turned(limb, outside, axes):
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    polygon = np.stack([180 + axes[0] * np.cos(angle), 200 + axes[1] * np.sin(angle)], 1).astype(np.float32)
    image = collimate(limb(), polygon, outside, rim=False)
    field = find_exposed_field(image)
    assert field.kind == "ellipse"
    assert field.angle_deg == 0
    assert overlap(field.polygon, polygon, image.shape) > 0.93


@pytest.mark.parametrize("seed", range(6))
def test_image_without_collimation_is_all_field(limb, seed):
    image = limb(seed=seed)
    assert find_exposed_field(image).kind == "whole"
    cleaned = clean(image, CleaningConfig(crop_anatomy=False))
    assert cleaned.angle_deg == 0
    assert cleaned.crop_box == pytest.approx((0, 0, 1, 1), abs=0.01)


def test_tilted_limb_on_black_air_is_not_taken_for_a_field_to_turn():
    image = np.zeros((400, 400), np.float32)
    cv2.ellipse(image, (200, 200), (90, 170), 25, 0, 360, 0.5, -1)
    cv2.ellipse(image, (200, 200), (30, 160), 25, 0, 360, 0.9, -1)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    cleaned = clean(image, CleaningConfig())
    assert cleaned.angle_deg == 0


def test_head_on_black_air_is_no_round_field():
    image = np.zeros((400, 400), np.float32)
    cv2.ellipse(image, (200, 200), (150, 180), 0, 0, 360, 0.6, -1)
    image = cv2.GaussianBlur(image, (0, 0), 8)
    assert find_exposed_field(image).kind == "whole"


def test_air_beside_a_limb_that_fills_the_image_is_no_shutter():
    image = np.full((400, 360), 0.55, np.float32)
    edge = 80 + 25 * np.sin(np.linspace(0, 5, 400))
    image[np.arange(360)[None] < edge[:, None]] = 0.05
    cv2.rectangle(image, (190, -5), (250, 405), 0.9, -1)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    assert find_exposed_field(image).kind == "whole"


@pytest.mark.parametrize("white_plate", [False, True])
def test_second_piece_on_a_plate_is_not_cut_away(limb, white_plate):
    image = np.zeros((400, 700), np.float32)
    image[20:380, 20:320] = limb(360, 300)
    image[20:380, 400:690] = 1.0 if white_plate else limb(360, 290, seed=1)
    box = find_exposed_field(image).polygon
    assert box[:, 0].min() <= 22
    assert box[:, 0].max() >= 688


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (5, 5), (7, 300)])
def test_images_too_small_to_hold_a_field_are_all_field(shape):
    assert find_exposed_field(np.random.default_rng(0).random(shape, np.float32)).kind == "whole"


def test_plate_strip_with_a_tilted_edge_is_cut_off():
    levels = np.full((200, 240), 60, np.uint8)
    edge = 170 + 0.05 * np.arange(240)
    levels[np.arange(200)[:, None] > edge[None]] = 250
    plate = find_plate(levels)
    assert plate[:, 1].max() < 184
    bottom = sorted(plate[plate[:, 1] > 100].tolist())
    assert bottom[0][1] == pytest.approx(170, abs=2.5)
    assert bottom[-1][1] == pytest.approx(182, abs=2.5)


def test_bright_belly_at_the_edge_is_no_plate_strip():
    levels = np.full((200, 240), 60, np.uint8)
    cv2.ellipse(levels, (120, 215), (150, 70), 0, 0, 360, 250, -1)
    assert len(find_plate(levels)) == 4
    assert find_plate(levels)[:, 1].max() == 200


def test_half_plane_clip_keeps_what_a_point_count_keeps():
    square = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.float32)
    start, end, keep = np.array([0.0, 30.0]), np.array([100.0, 60.0]), np.array([50.0, 90.0])
    clipped = clip_half_plane(square, start, end, keep)
    counted = sum(y + 0.5 > 30 + 0.3 * (x + 0.5) for x in range(100) for y in range(100))
    assert cv2.contourArea(clipped) == pytest.approx(counted, rel=0.01)
