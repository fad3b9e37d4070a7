import cv2
import numpy as np
import pyarrow as pa
import pytest

from radray import storage
from radray.audit.duplicates import SAME_DETAIL, confirm_pairs, detail_likeness, fine_detail, propose_pairs
from radray.audit.neighbours import Neighbours
from radray.phantom.radiograph import render_radiograph

SIDE = 128


def exposure(seed, region="knee"):
    rendered = render_radiograph(region, np.random.default_rng(seed), 256)
    return np.round(255 * cv2.resize(rendered.pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).astype(np.uint8)


def altered(image):
    """The same picture from another archive: cropped, darker, compressed."""
    cropped = cv2.resize(image[6:-2, 4:-4], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    darker = np.round(255 * (cropped / 255) ** 1.3).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", darker, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize("seed", range(4))
def test_an_altered_copy_has_the_same_detail_and_another_exposure_has_not(seed):
    image = exposure(seed)
    copy = altered(image)
    assert max(detail_likeness(fine_detail(image), copy), detail_likeness(fine_detail(copy), image)) > SAME_DETAIL
    assert detail_likeness(fine_detail(image), exposure(seed + 100)) < SAME_DETAIL


def test_an_empty_image_is_like_nothing():
    empty = np.zeros((SIDE, SIDE), np.uint8)
    assert detail_likeness(fine_detail(empty), exposure(0)) == 0
    assert detail_likeness(fine_detail(exposure(0)), empty) == 0


def test_pairs_come_from_hashes_and_features_once_each_and_only_copies_are_confirmed(tmp_path):
    first, second = exposure(1), exposure(2)
    images = [first, altered(first), second, altered(first)]
    neighbours = Neighbours(
        np.array([[1, 3], [0, 3], [0, -1], [0, 1]]),
        np.array([[0.95, 0.92], [0.95, 0.2], [0.91, -1], [0.92, 0.2]], np.float32),
    )
    proposed = propose_pairs(np.array([0b0111, 0b0011]), np.array([0, 1]), neighbours, 2)
    assert proposed == {(0, 1): "near", (0, 3): "features", (0, 2): "features"}
    table = pa.table(
        {
            "row_id": [10, 11, 12, 13],
            "image": [image.tobytes() for image in images],
            "side_px": pa.array([SIDE] * 4, pa.int32()),
        }
    )
    url = str(tmp_path / "images")
    storage.write_table(storage.join(url, "part.parquet"), table)
    found, left = confirm_pairs(proposed, np.array([10, 11, 12, 13]), url, 10)
    assert [(pair.first, pair.second, pair.kind) for pair in found] == [(0, 1, "near"), (0, 3, "features")]
    assert left == 0
    assert confirm_pairs(proposed, np.array([10, 11, 12, 13]), url, 1)[1] == 2
