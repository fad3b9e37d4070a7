"""One synthetic radiograph: ranges, truth, determinism, and that brightness and size do not give the region away."""

import time

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radray.errors import ConfigError
from radray.phantom.anatomy import SKETCHES
from radray.phantom.hardware import CUES
from radray.phantom.projection import BONE_PER_MM, SOFT_PER_MM, add_part, attenuation
from radray.phantom.radiograph import render_radiograph
from radray.phantom.shapes import Part, Sketch, View, box, ellipse, smooth
from radray.regions import load_regions


@pytest.mark.parametrize("region", sorted(SKETCHES))
def test_every_region_renders_with_its_truth(region):
    for seed in range(3):
        rendered = render_radiograph(region, np.random.default_rng(seed), 200)
        again = render_radiograph(region, np.random.default_rng(seed), 200)
        rows, columns = rendered.pixels.shape
        assert np.array_equal(rendered.pixels, again.pixels)
        assert rendered.pixels.dtype == np.float32
        assert rendered.pixels.min() >= 0.0 and rendered.pixels.max() <= 1.0
        assert rendered.pixels.std() > 0.02
        assert 150 <= max(rows, columns) <= 200
        field = np.array(rendered.exposed_field)
        assert (field >= -2).all() and (field <= [columns + 2, rows + 2]).all()
        area = cv2.contourArea(field.astype(np.float32))
        assert 0.05 * rows * columns < area <= rows * columns


def test_the_sketches_are_the_regions_of_skeletal22():
    assert set(SKETCHES) == set(load_regions("skeletal22").names)


def test_unknown_region_says_what_is_allowed():
    with pytest.raises(ConfigError, match="knee"):
        render_radiograph("tail", np.random.default_rng(0), 128)


def test_side_and_cue_are_honoured():
    plain = render_radiograph("knee", np.random.default_rng(5), 256, side="L")
    cued = render_radiograph("knee", np.random.default_rng(5), 256, side="L", cue=CUES[2])
    assert plain.side == "L" and plain.cue == "" and cued.cue == CUES[2]
    changed = np.abs(plain.pixels - cued.pixels) > 0.2
    assert 5 < changed.sum() < 0.02 * changed.size


def test_a_tube_attenuates_like_a_cylinder():
    """The path through a tube of radius R at offset x from its axis is 2·sqrt(R² - x²)."""
    radius, mm_per_px = 20.0, 0.5
    total = np.zeros((200, 200), np.float32)
    axis_x = 50.0
    outline = np.array([(axis_x - radius, -40), (axis_x + radius, -40), (axis_x + radius, 140), (axis_x - radius, 140)])
    add_part(total, Part(outlines=[outline / mm_per_px], rim=radius, depth=2 * radius), mm_per_px)
    x = (np.arange(200)) * mm_per_px - axis_x
    twin = 2 * np.sqrt(np.maximum(radius**2 - x**2, 0))
    assert total[100].max() == pytest.approx(2 * radius, rel=0.01)
    assert np.abs(total[100] - twin).mean() < 0.8


def test_bone_replaces_soft_tissue_in_the_line_integral():
    sketch = Sketch(view=View("AP", (0, 0), (100, 100)))
    sketch.flesh(box((100, 100), 180, 180), rim=1, depth=100)
    sketch.blob(ellipse((100, 100), 40, 40), rim=1, depth=10, cortex=0, hollow=0)
    integral = attenuation(sketch, (200, 200), 1.0, np.zeros((200, 200), np.float32))
    assert integral[100, 30] == pytest.approx(100 * SOFT_PER_MM, rel=0.02)
    assert integral[100, 100] == pytest.approx(90 * SOFT_PER_MM + 10 * BONE_PER_MM, rel=0.02)


def test_smooth_passes_through_its_knots():
    knots = [(0.0, 0.0), (3.0, 8.0), (10.0, 2.0), (12.0, 9.0)]
    for closed in (False, True):
        curve = smooth(knots, closed=closed, steps=5)
        assert np.allclose(curve[::5][:4], knots)


@pytest.fixture(scope="module")
def balanced():
    names, per_region = load_regions("skeletal14").names, 24
    looks, labels, thumbnails = [], [], []
    for number, name in enumerate(names):
        for seed in range(per_region):
            pixels = render_radiograph(name, np.random.default_rng([number, seed]), 128).pixels
            rows, columns = pixels.shape
            quantiles = np.quantile(pixels, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
            looks.append(
                [pixels.mean(), pixels.std(), *quantiles, rows, columns, rows / columns, np.log(rows * columns)]
            )
            thumbnails.append(cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA))
            labels.append(number)
    return np.array(looks), np.array(thumbnails), np.array(labels)


def test_brightness_and_size_do_not_tell_the_region(balanced):
    looks, _, labels = balanced
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = cross_val_score(linear, looks, labels, cv=4).mean()
    assert accuracy < 0.30, f"brightness and size alone reach {accuracy:.0%} on 14 balanced regions"


def test_shape_tells_more_than_brightness(balanced):
    """Gradient orientations, which know no brightness, do tell regions apart even with few examples."""
    looks, thumbnails, labels = balanced
    orientations = np.array([_gradient_histograms(thumbnail) for thumbnail in thumbnails])
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.01))
    shape = cross_val_score(linear, orientations, labels, cv=4).mean()
    brightness = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), looks, labels, cv=4
    ).mean()
    assert shape > brightness + 0.05


def _gradient_histograms(thumbnail, cells=8, bins=8):
    dx, dy = cv2.Sobel(thumbnail, cv2.CV_32F, 1, 0), cv2.Sobel(thumbnail, cv2.CV_32F, 0, 1)
    angle = (np.arctan2(dy, dx) % np.pi) / np.pi * bins
    strength = np.hypot(dx, dy)
    maps = [
        cv2.resize(strength * (angle.astype(int) % bins == b), (cells, cells), interpolation=cv2.INTER_AREA)
        for b in range(bins)
    ]
    histogram = np.stack(maps, -1)
    return (histogram / (np.linalg.norm(histogram, axis=-1, keepdims=True) + 0.1)).ravel()


def test_drawing_small_radiographs_is_fast_enough_for_fixtures():
    render_radiograph("knee", np.random.default_rng(0), 256)
    started = time.process_time()
    for seed in range(20):
        render_radiograph("hand", np.random.default_rng(seed), 256)
    assert (time.process_time() - started) / 20 < 0.1
