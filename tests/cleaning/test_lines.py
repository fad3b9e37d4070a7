import cv2
import numpy as np
import pytest

from radray.cleaning import find_exposed_field
from radray.cleaning.lines import find_rectangle
from radray.cleaning.shapes import upright_turn

from .conftest import overlap


def shadow(image, polygon, rim, seed=0):
    """Collimate to a grey, noisy shadow through which the anatomy shines faintly."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(image.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(polygon) * 16 - 8).astype(np.int32)], 1, shift=4)
    slope = np.linspace(0.0, 0.06, image.shape[0], dtype=np.float32)[:, None]
    scattered = 0.55 + slope + 0.1 * cv2.GaussianBlur(image, (0, 0), 6) + rng.normal(0, 0.02, image.shape)
    out = np.where(mask > 0, image, scattered).astype(np.float32)
    if rim:
        cv2.polylines(out, [np.round(polygon).astype(np.int32)], True, 1.0, 2)
    return np.clip(out, 0, 1)


@pytest.mark.parametrize("rim", [False, True])
@pytest.mark.parametrize("tilt", [0, 4, 12, 27, 44, -9, -31])
def test_rectangle_in_a_grey_shadow_is_found(limb, rim, tilt):
    polygon = cv2.boxPoints(((185, 197), (190, 250), tilt)).astype(np.float32)
    image = shadow(limb(), polygon, rim)
    field = find_exposed_field(image)
    assert field.kind == "rectangle"
    assert overlap(field.polygon, polygon, image.shape) > 0.94
    assert abs(upright_turn(tilt) - field.angle_deg) < 1.5


@pytest.mark.parametrize("axes", [(120, 120), (150, 100)])
@pytest.mark.parametrize("tilt", [0, 30])
def test_ellipse_in_a_grey_shadow_is_found(limb, axes, tilt):
    polygon = cv2.ellipse2Poly((180, 200), axes, tilt, 0, 360, 3).astype(np.float32)
    image = shadow(limb() * 0.8, polygon, rim=False)
    cv2.rectangle(image, (60, 196), (84, 204), 1.0, -1)  # a ruler across the edge
    field = find_exposed_field(image)
    assert field.kind == "ellipse"
    assert overlap(field.polygon, polygon, image.shape) > 0.93


def test_rectangle_whose_fourth_side_is_the_images_own_is_found(limb):
    polygon = np.array([[80, 0], [290, 0], [290, 260], [80, 260]], np.float32)
    image = shadow(limb(), polygon, rim=False)
    field = find_exposed_field(image)
    assert field.kind == "rectangle"
    assert overlap(field.polygon, polygon, image.shape) > 0.95


def shutter(image, polygon, level, seed=0):
    """Collimate to a noisy shutter, hardly lighter than the air inside."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(image.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(polygon) * 16 - 8).astype(np.int32)], 1, shift=4)
    outside = level + rng.normal(0, 0.01, image.shape)
    return np.clip(np.where(mask > 0, image - 0.25, outside), 0, 1).astype(np.float32)


@pytest.mark.parametrize("level", [0.05, 0.08])
@pytest.mark.parametrize("tilt", [0, 12, -31])
def test_rectangle_of_a_dark_shutter_is_found(limb, tilt, level):
    polygon = cv2.boxPoints(((185, 197), (190, 250), tilt)).astype(np.float32)
    image = shutter(limb(), polygon, level)
    field = find_exposed_field(image)
    assert field.kind == "rectangle"
    assert overlap(field.polygon, polygon, image.shape) > 0.9


def grey_air_with_shaft():
    image = np.full((400, 360), 0.3, np.float32)
    cv2.rectangle(image, (150, -5), (210, 405), 0.8, -1)
    return image


def grey_air_with_cast_to_the_border():
    image = np.full((400, 360), 0.3, np.float32)
    cv2.rectangle(image, (120, 80), (250, 405), 0.7, 8)
    cv2.rectangle(image, (170, -5), (200, 405), 0.9, -1)
    return image


def light_box_and_table_edge():
    image = np.full((400, 360), 0.4, np.float32)
    image[300:] = 0.7
    cv2.rectangle(image, (40, 40), (90, 60), 1.0, -1)
    cv2.ellipse(image, (200, 200), (60, 190), 8, 0, 360, 0.9, -1)
    return image


def window_of_lines_that_go_on():
    image = np.full((400, 360), 0.45, np.float32)
    image[110:290, 110:250] = 0.1
    cv2.ellipse(image, (180, 200), (40, 60), 0, 0, 360, 0.8, -1)
    image[:, 100:110] = image[:, 250:260] = 0.9
    image[100:110] = image[290:300] = 0.9
    return image


def splint_on_dark_air():
    image = np.full((400, 360), 0.08, np.float32)
    cv2.ellipse(image, (180, 350), (45, 60), 0, 0, 360, 0.3, -1)
    along = np.arange(60, 320)
    for row, wave in zip(along, 3 * np.sin(along / 9), strict=True):
        image[row, round(130 + wave) : round(240 + wave)] = 0.45
    cv2.rectangle(image, (165, 60), (205, 320), 0.85, -1)
    return cv2.GaussianBlur(image, (0, 0), 3)


@pytest.mark.parametrize(
    "draw",
    [
        splint_on_dark_air,
        grey_air_with_shaft,
        grey_air_with_cast_to_the_border,
        light_box_and_table_edge,
        window_of_lines_that_go_on,
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_straight_things_are_no_field(draw, noise):
    image = draw() + np.random.default_rng(0).normal(0, noise, (400, 360))
    image = np.clip(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1), 0, 1)
    assert find_rectangle((image * 255).astype(np.uint8), 0.06) is None
