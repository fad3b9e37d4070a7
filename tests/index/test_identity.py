"""No identity leaves the index: planted in headers, private tags, pixels and paths, and looked for everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import ray

from radray import storage
from radray.cleaning import CleaningConfig
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.index.config import IndexConfig
from radray.index.stage import run_index
from tests.index.test_index import radiograph

KEY = "0123456789abcdef0123456789abcdef"
SIDE = 256
PLANTED = (
    "MUELLER",
    "Mueller",
    "HANS",
    "PID778812",
    "19511224",
    "24.12.1951",
    "20200305",
    "ACC99812",
    "1.2.77.20200305",
)


def identified(number: int) -> bytes:
    """A radiograph that says in every way whose it is."""
    rng = np.random.default_rng(number)
    bone = cv2.GaussianBlur((rng.random((SIDE, SIDE)) < 0.002).astype(np.float32), (0, 0), 12)
    pixels = np.clip(60 + 180 * bone / bone.max(), 0, 215).astype(np.uint8)
    cv2.putText(pixels, "MUELLER HANS 24.12.1951", (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    body = radiograph(
        "KNEE",
        number,
        Rows=SIDE,
        Columns=SIDE,
        PixelData=pixels.tobytes(),
        PatientName="MUELLER^HANS",
        PatientID="PID778812",
        PatientBirthDate="19511224",
        StudyDate="20200305",
        AcquisitionDate="20200305",
        AccessionNumber="ACC99812",
        StudyInstanceUID="1.2.77.20200305.1",
        SeriesInstanceUID="1.2.77.20200305.1.2",
        SeriesDescription="Knie von Mueller HANS",
        PatientComments="geb 24.12.1951",
        BurnedInAnnotation="YES",
    )
    from io import BytesIO

    dataset = pydicom.dcmread(BytesIO(body))
    dataset.private_block(0x0011, "MUELLER", create=True).add_new(0x10, "LO", "MUELLER HANS PID778812")
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def said(value: Any) -> str:
    """A table's rows as text; bytes as latin-1."""
    return json.dumps(value, default=lambda odd: odd.decode("latin-1") if isinstance(odd, bytes) else str(odd))


def test_identities_stay_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], ray_cluster: None
) -> None:
    monkeypatch.setenv("RADRAY_PATIENT_KEY", KEY)
    archive = tmp_path / "archive"
    for number in range(9):
        place = archive / "MUELLER_HANS_19511224" / f"PID778812_{number}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(identified(number))
    (archive / "MUELLER_HANS_19511224" / "ACC99812.dcm").write_bytes(identified(10)[:3000])
    index = IndexConfig(archive=str(archive), output=str(tmp_path / "index"), key="hash")
    index.check()
    summaries = [run_index(index)]
    clean = CleanConfig(index=index.output, output=str(tmp_path / "images"), cleaning=CleaningConfig(side_px=SIDE))
    summaries.append(run_clean(clean))
    assert summaries[1]["by_status"]["ok"] == 9

    rows = storage.read_table(index.output).to_pylist()
    beyond = [{name: value for name, value in row.items() if name != "uri"} for row in rows]
    images = storage.read_table(clean.output)
    patients = [
        row for file in (tmp_path / "images").glob("_patients-*") for row in storage.read_table(str(file)).to_pylist()
    ]
    assert patients
    texts = [said(beyond), said(images.drop_columns(["image"]).to_pylist()), said(patients), said(summaries)]
    texts += ["\n".join(str(path.relative_to(tmp_path / "images")) for path in (tmp_path / "images").rglob("*"))]
    texts += list(capfd.readouterr())
    node = ray._private.worker._global_node  # type: ignore[attr-defined]
    logs = [path for path in Path(node.get_logs_dir_path()).rglob("*") if path.is_file()]
    assert logs
    texts += [path.read_text(errors="replace") for path in logs]
    for text in texts:
        told = [text[max(0, text.index(name) - 200) :][:300] for name in PLANTED if name in text]
        assert not told, told
    assert len({row["key"] for row in rows}) == 10
    assert {row["uri"] for row in images.to_pylist()} <= {row["key"] for row in rows}

    whole = np.frombuffer(pydicom.dcmread(next(archive.rglob("PID778812_0.dcm"))).PixelData, np.uint8)
    assert legibility(whole.reshape(SIDE, SIDE)) > 0.8
    for row in images.to_pylist():
        if row["status"] == "ok":
            assert "text_masked" in row["flags"]
            assert legibility(np.frombuffer(row["image"], np.uint8).reshape(SIDE, SIDE)) < 0.45


def legibility(image: np.ndarray) -> float:
    """How much of the planted name an image shows at any scale: greatest normalised correlation."""
    name = np.zeros((16, 110), np.uint8)
    cv2.putText(name, "MUELLER HANS", (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    found = []
    for scale in np.linspace(0.7, 1.6, 19):
        small = cv2.resize(name, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(float(cv2.matchTemplate(image, small, cv2.TM_CCOEFF_NORMED).max()))
    return max(found)
