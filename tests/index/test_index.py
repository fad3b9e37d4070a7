"""The index stage: configuration, labels, manifest, headers; once through Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from radray import storage
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.errors import ConfigError
from radray.index.config import IndexConfig
from radray.index.headers import ReadHeaders
from radray.index.labels import parse_labels
from radray.index.manifest import ensure_manifest
from radray.regions import load_regions
from radray.tables import INDEX_SCHEMA, MANIFEST_SCHEMA

REGIONS = load_regions("skeletal14")
KEY = "0123456789abcdef0123456789abcdef"


def radiograph(body_part: str, number: int, **elements: Any) -> bytes:
    from io import BytesIO

    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    header.SOPInstanceUID = f"1.2.3.{number}"
    header.StudyInstanceUID = f"1.2.{number}"
    header.Modality, header.PatientID, header.BodyPartExamined = "DX", f"P{number}", body_part
    header.Rows = header.Columns = 4
    header.BitsAllocated = header.BitsStored = 8
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.PixelData = bytes(16)
    header["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    stream = BytesIO()
    dcmwrite(stream, header, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def archive(store: str) -> str:
    url = storage.join(store, "archive")
    objects = {
        "knie/1.dcm": radiograph("KNEE", 1),
        "hand/2": radiograph("HAND", 2),
        "hand/3.dcm": radiograph("XYZ", 3, EncapsulatedDocument=b"x" * 200_000),
        "ct.dcm": radiograph("CHEST", 4, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
        "readme.txt": b"not an image at all",
        "DICOMDIR": b"x",
    }
    for name, body in objects.items():
        storage.write_bytes(storage.join(url, name), body)
    return url


def read(archive: str, output: str, labels: str = "header") -> list[dict[str, Any]]:
    manifest = ensure_manifest(archive, output, rows_per_shard=2)
    step = ReadHeaders(
        reader=HeaderReader(regions=REGIONS, pseudonyms=Pseudonyms(b"k" * 16)),
        labels=parse_labels(labels, archive, REGIONS),
        header_bytes=4096,
    )
    rows = step(storage.read_table(manifest.url))
    assert rows.schema.equals(INDEX_SCHEMA)
    return sorted(rows.to_pylist(), key=lambda row: row["uri"])


def test_every_object_becomes_a_row(archive: str, store: str) -> None:
    rows = read(archive, storage.join(store, "index"))
    found = {row["uri"][len(archive) + 1 :]: (row["status"], row["reason"], row["label"]) for row in rows}
    assert found == {
        "ct.dcm": ("set_aside", "not_radiograph", None),
        "hand/2": ("ok", None, "hand"),
        "hand/3.dcm": ("ok", None, None),
        "knie/1.dcm": ("ok", None, "knee"),
        "readme.txt": ("set_aside", "not_dicom", None),
    }
    assert len({row["patient"] for row in rows if row["status"] == "ok"}) == 3


@pytest.mark.parametrize("pattern", ["path:^(?P<region>[a-z]+)/", "path:^([a-z]+)/", "path:^[a-z]+(?=/)"])
def test_labels_from_the_path(archive: str, store: str, pattern: str) -> None:
    rows = read(archive, storage.join(store, "index"), pattern)
    assert [(row["label"], row["label_source"]) for row in rows if row["status"] == "ok"] == [
        ("hand", "path"),
        ("hand", "path"),
        ("knee", "path"),
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("key", ["uri", "path"])
def test_labels_from_a_table(archive: str, store: str, suffix: str, key: str) -> None:
    names = ["hand/2", "hand/3.dcm"]
    uris = [storage.join(archive, name) for name in names] if key == "uri" else names
    table = pa.table({key: uris, "label": ["Handgelenk", "nowhere"]})
    url = storage.join(store, f"labels.{suffix}")
    if suffix == "parquet":
        storage.write_table(url, table)
    else:
        storage.write_bytes(url, f"{key},label\n{uris[0]},Handgelenk\n{uris[1]},nowhere\n".encode())
    rows = read(archive, storage.join(store, "index"), f"table:{url}")
    assert [(row["label"], row["label_source"]) for row in rows if row["status"] == "ok"] == [
        ("wrist", "table"),
        (None, None),
        (None, None),
    ]


def test_an_object_that_vanishes_is_a_row(archive: str, store: str) -> None:
    output = storage.join(store, "index")
    ensure_manifest(archive, output)
    storage.remove(storage.join(archive, "hand/2"))
    found = {row["reason"] for row in read(archive, output)}
    assert "fetch_failed" in found


def test_a_manifest_is_made_once_and_belongs_to_its_archive(archive: str, store: str) -> None:
    output = storage.join(store, "index")
    first = ensure_manifest(archive, output, rows_per_shard=2)
    assert first.objects == 5
    assert len(storage.list_files(first.url, ".parquet")) == 3
    storage.write_bytes(storage.join(archive, "new.dcm"), b"x")
    assert ensure_manifest(archive, output) == first
    with pytest.raises(ConfigError, match="holds the index of"):
        ensure_manifest(store, output)


def config(archive: str, output: str, **changes: Any) -> IndexConfig:
    return IndexConfig(archive=archive, output=output, **changes)


def test_without_a_secret_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RADRAY_PATIENT_KEY", raising=False)
    with pytest.raises(ConfigError, match="set the variable RADRAY_PATIENT_KEY"):
        config(str(tmp_path), str(tmp_path / "out")).check()
    monkeypatch.setenv("RADRAY_PATIENT_KEY", "short")
    with pytest.raises(ConfigError, match="5 bytes; use at least 16"):
        config(str(tmp_path), str(tmp_path / "out")).check()
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    assert config("a", "b", patient_key=f"file:{key}").secret() == KEY.encode()
    assert config("a", "b", patient_key="none").secret() is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patient_key": "hunter2"}, "--patient-key"),
        ({"header_bytes": 10}, "--header-bytes"),
        ({"modalities": ()}, "modalities is empty"),
        ({"labels": "names"}, "--labels 'names' is not allowed"),
        ({"labels": "path:("}, "not a regular expression"),
        ({"labels": "table:/nowhere.csv"}, "nothing is there"),
        ({"regions": "skeletal99"}, "--regions"),
        ({"patient_key": "file:/nowhere/key"}, "cannot be read"),
    ],
)
def test_bad_configuration_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setenv("RADRAY_PATIENT_KEY", KEY)
    (tmp_path / "archive").mkdir()
    with pytest.raises(ConfigError, match=complaint) as caught:
        config(str(tmp_path / "archive"), str(tmp_path / "out"), **changes).check()
    assert "\n" not in str(caught.value)


def test_the_archive_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADRAY_PATIENT_KEY", KEY)
    with pytest.raises(ConfigError, match="never written to"):
        config(str(tmp_path), str(tmp_path / "out")).check()
    assert not (tmp_path / "out").exists()


def test_configuration_needs_neither_ray_nor_torch() -> None:
    script = "import sys, radray.index.config; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_run_counts_every_row_and_a_second_run_adds_none(
    archive: str, store: str, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    from radray.index.stage import run_index

    monkeypatch.setenv("RADRAY_PATIENT_KEY", KEY)
    settings = config(archive, storage.join(store, "index"))
    settings.check()
    summary = run_index(settings)
    assert summary["rows_in"] == summary["rows_out"] == 5
    assert summary["by_status"] == {"ok": 3, "set_aside": 2}
    assert summary["by_reason"] == {"not_radiograph": 1, "not_dicom": 1}
    assert summary["labels"] == {"hand": 1, "unknown": 1, "knee": 1}
    assert run_index(settings) == summary
    with pytest.raises(ConfigError, match="another configuration"):
        run_index(config(archive, settings.output, regions="skeletal22"))


def test_a_finished_index_reads_only_what_is_new_or_changed(
    archive: str, store: str, monkeypatch: pytest.MonkeyPatch, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from radray.index.stage import run_index

    monkeypatch.setenv("RADRAY_PATIENT_KEY", KEY)
    settings = config(archive, storage.join(store, "index"))
    run_index(settings)
    before = {row["uri"]: row for row in storage.read_table(settings.output).to_pylist()}
    storage.write_bytes(storage.join(archive, "fuss/5.dcm"), radiograph("FOOT", 5))
    storage.write_bytes(storage.join(archive, "hand/2"), radiograph("ELBOW", 2))
    storage.remove(storage.join(archive, "ct.dcm"))
    capsys.readouterr()
    summary = run_index(settings)
    assert "3 of 5 rows are there already" in capsys.readouterr().err
    assert summary["rows_in"] == summary["rows_out"] == 5
    after = {row["uri"][len(archive) + 1 :]: row for row in storage.read_table(settings.output).to_pylist()}
    assert {name: row["label"] for name, row in after.items()} == {
        "fuss/5.dcm": "foot",
        "hand/2": "elbow",
        "hand/3.dcm": None,
        "knie/1.dcm": "knee",
        "readme.txt": None,
    }
    for name in ("hand/3.dcm", "knie/1.dcm", "readme.txt"):
        assert after[name] == before[storage.join(archive, name)]
    assert run_index(settings) == summary


def test_members_of_a_zip_file_are_indexed(store: str) -> None:
    from io import BytesIO
    from zipfile import ZIP_DEFLATED, ZipFile

    body = BytesIO()
    with ZipFile(body, "w", ZIP_DEFLATED) as packed:
        packed.writestr("knie/1.dcm", radiograph("KNEE", 1, EncapsulatedDocument=b"x" * 200_000))
        packed.writestr("hand/2", radiograph("HAND", 2))
    storage.write_bytes(storage.join(store, "archive/export.zip"), body.getvalue())
    rows = read(storage.join(store, "archive"), storage.join(store, "index"))
    assert [(row["uri"].split("::")[1], row["status"], row["label"]) for row in rows] == [
        ("hand/2", "ok", "hand"),
        ("knie/1.dcm", "ok", "knee"),
    ]


def test_an_object_listed_twice_is_refused(archive: str, store: str) -> None:
    url = storage.join(store, "objects.csv")
    storage.write_bytes(url, f"uri\n{archive}/hand/2\n{archive}/hand/2\n".encode())
    with pytest.raises(ConfigError, match="1 of its 2 objects are listed twice"):
        ensure_manifest(url, storage.join(store, "index"))


def test_what_counts_as_a_radiograph_is_configuration(tmp_path: Path) -> None:
    objects = {
        "run": radiograph("KNEE", 1, NumberOfFrames=2, PixelData=bytes(32)),
        "printed": radiograph("KNEE", 2, ImageType=["DERIVED", "PRIMARY", "PRINT"]),
        "xa": radiograph("KNEE", 3, Modality="XA", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1"),
    }
    for name, body in objects.items():
        (tmp_path / name).write_bytes(body)

    def reasons(**changes: Any) -> dict[str, str | None]:
        rule = config(str(tmp_path), "out", **changes).rule()
        reader = HeaderReader(regions=REGIONS, pseudonyms=Pseudonyms(b"k" * 16), rule=rule)
        step = ReadHeaders(reader=reader, labels=parse_labels("header", str(tmp_path), REGIONS), header_bytes=4096)
        listed = [
            {"uri": str(tmp_path / name), "row_id": 0, "size": 1, "etag": "", "modified": None} for name in objects
        ]
        rows = step(pa.Table.from_pylist(listed, schema=MANIFEST_SCHEMA)).to_pylist()
        return {Path(row["uri"]).name: row["reason"] for row in rows}

    assert reasons() == {"run": "not_radiograph", "printed": "derived_image", "xa": "not_radiograph"}
    taken = reasons(frames="first", derived_types=("drawing",), modalities=("dx", "xa"))
    assert taken == {"run": None, "printed": None, "xa": None}
