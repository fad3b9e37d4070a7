from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest

from radray import storage
from radray.cleaning import CleaningConfig
from radray.cli import parse
from radray.errors import ConfigError
from radray.images import load_cleaning, load_images
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.images.prepare import prepare_image
from radray.index.config import IndexConfig
from radray.index.stage import run_index
from radray.tables import IMAGES_SCHEMA

SIDE = 48


@pytest.fixture(scope="module")
def index(phantom_archive, ray_cluster, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("index"))
    run_index(IndexConfig(archive=phantom_archive.archive, output=folder, patient_key="none"))
    return folder


def test_every_radiograph_has_a_row_an_image_or_a_reason(index, store):
    output = storage.join(store, "images")
    config = CleanConfig(index=index, output=output, cleaning=CleaningConfig(side_px=SIDE), sheet_images=9)
    config.check()
    summary = run_clean(config)
    indexed = [row for row in storage.read_table(index).to_pylist() if row["status"] == "ok"]
    table = storage.read_table(output)
    rows = table.to_pylist()
    assert table.schema.equals(IMAGES_SCHEMA)
    assert sorted(row["uri"] for row in rows) == sorted(row["uri"] for row in indexed)
    assert summary["rows_in"] == summary["rows_out"] == len(rows) == sum(summary["by_status"].values())
    for row in rows:
        assert (row["status"] == "ok") == (row["image"] is not None) == (row["reason"] is None)
        assert row["image"] is None or len(row["image"]) == SIDE * SIDE
    sides = defaultdict(set)
    for row in rows:
        sides[row["patient"]].add(row["split"])
    assert all(len(held) == 1 for held in sides.values())
    assert set(Counter(row["split"] for row in rows)) == {"train", "validation", "test"}
    assert load_images(output).images.std(axis=(1, 2)).min() > 3
    assert load_cleaning(output) == config.cleaning
    sheet = cv2.imdecode(np.frombuffer(storage.read_bytes(storage.join(output, "sheets", "cleaned.png")), np.uint8), 0)
    assert sheet.shape == (2 * 116 + 4, 8 * 116 + 4)
    assert sheet.std() > 10

    again = run_clean(config)
    assert again == summary
    assert storage.read_table(output).num_rows == len(rows)
    with pytest.raises(ConfigError, match="another"):
        run_clean(CleanConfig(index=index, output=output, seed=5, cleaning=CleaningConfig(side_px=SIDE)))


def test_a_body_that_is_no_dicom_becomes_a_reason():
    row = prepare_image(b"not a radiograph" * 40, CleaningConfig())
    assert row["status"] in ("failed", "set_aside")
    assert row["reason"]
    assert row["image"] is None


def test_real_radiographs_all_get_an_image(real_archive):
    paths = sorted((real_archive / "archive" / "FA" / "FA0000").iterdir())[:4]
    paths += [sorted((real_archive / "archive" / source).rglob("*.*"))[0] for source in ("LI", "ZN")]
    for path in paths:
        row = prepare_image(path.read_bytes(), CleaningConfig(side_px=SIDE))
        assert row["status"] == "ok"
        assert np.frombuffer(row["image"], np.uint8).std() > 10


def test_command_line_takes_cleaning_options_by_their_own_names():
    config = parse(CleanConfig, ["--index", "a", "--output", "b", "--side-px", "64", "--tone", "local"])
    assert (config.cleaning.side_px, config.cleaning.tone) == (64, "local")
    for wrong in (["--side-px", "3"], ["--test-fraction", "2"], ["--sidepx", "64"]):
        with pytest.raises(ConfigError):
            parse(CleanConfig, ["--index", "a", "--output", "b", *wrong])
