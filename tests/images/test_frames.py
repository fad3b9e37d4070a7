"""Every frame a row: known by its object's URL and its number, and the same image as decoded alone."""

from pathlib import Path

import numpy as np
import pytest

from radray import storage
from radray.cleaning import CleaningConfig
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.images.prepare import prepare_image
from radray.index.config import IndexConfig
from radray.index.stage import run_index

from ..dicom.conftest import dataset, stored, written

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def index(tmp_path: Path, ray_cluster) -> str:
    archive = tmp_path / "archive"
    archive.mkdir()
    turned = [np.ascontiguousarray(np.rot90(stored(), 2 * turn)) + turn for turn in range(3)]
    several = dataset(stored(), 12, NumberOfFrames=3, PatientID="one", BodyPartExamined="KNEE")
    several.PixelData = np.stack(turned).astype(np.uint16).tobytes()
    (archive / "several.dcm").write_bytes(written(several, EXPLICIT))
    single = dataset(stored() // 2, 12, PatientID="two", BodyPartExamined="HAND")
    single.PixelData = (stored() // 2).tobytes()
    (archive / "single.dcm").write_bytes(written(single, EXPLICIT))
    output = str(tmp_path / "index")
    run_index(IndexConfig(archive=str(archive), output=output, patient_key="none", frames="first"))
    return output


def test_all_frames_are_rows(index: str, tmp_path: Path) -> None:
    cleaning = CleaningConfig(side_px=48)
    config = CleanConfig(
        index=index, output=str(tmp_path / "images"), cleaning=cleaning, frames="all", near_copy_bits=0, sheet_images=4
    )
    summary = run_clean(config)
    assert summary["rows_in"] == summary["rows_out"] == 4
    several = str(tmp_path / "archive" / "several.dcm")
    rows = {row["uri"]: row for row in storage.read_table(config.output).to_pylist()}
    assert sorted(rows) == [several, f"{several}#frame=2", f"{several}#frame=3", several.replace("several", "single")]
    body = Path(several).read_bytes()
    for number, uri in enumerate(sorted(rows)[:3]):
        assert rows[uri]["image"] == prepare_image(body, cleaning, frame=number)["image"]
    assert len({rows[uri]["split"] for uri in sorted(rows)[:3]}) == 1
    assert len({row["row_id"] for row in rows.values()}) == 4
    assert run_clean(config) == summary


def test_the_first_frame_alone_is_the_default(index: str, tmp_path: Path) -> None:
    config = CleanConfig(index=index, output=str(tmp_path / "images"), cleaning=CleaningConfig(side_px=48))
    assert run_clean(config)["rows_out"] == 2
