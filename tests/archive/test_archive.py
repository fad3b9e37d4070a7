"""Listing and reading, in folders and on S3."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from radray import outages, storage
from radray.archive import fetch, fetch_range, list_objects, reading, s3_listing
from radray.errors import ConfigError, ObjectError, Reason
from radray.tables import MANIFEST_SCHEMA, row_id

FILES = {
    "b/2.dcm": b"two" * 10,
    "b/1": b"one",
    "a.dcm": b"a",
    "empty": b"",
    "DICOMDIR": b"x",
    "_SUCCESS": b"",
    ".hidden": b"x",
    ".git/config": b"x",
    "b/.DS_Store": b"x",
    "ünder strich/ä.dcm": b"u",
}
EXPECTED = ["a.dcm", "b/1", "b/2.dcm", "empty", "ünder strich/ä.dcm"]


@pytest.fixture
def archive(store: str) -> str:
    for name, body in FILES.items():
        storage.write_bytes(storage.join(store, name), body)
    return store


def test_every_object_is_listed_once_in_order(archive: str) -> None:
    rows = list(list_objects(archive))
    assert [row["uri"] for row in rows] == [storage.join(archive, name) for name in EXPECTED]
    assert [row["size"] for row in rows] == [len(FILES[name]) for name in EXPECTED]
    for row in rows:
        assert list(row) == MANIFEST_SCHEMA.names
        assert row["row_id"] == row_id(row["uri"], row["etag"])
        assert row["etag"]
        assert row["modified"].tzinfo is not None
    assert list(list_objects(archive + "/")) == rows


def test_objects_are_read_whole_and_in_part(archive: str) -> None:
    uri = storage.join(archive, "b/2.dcm")
    assert fetch(uri) == b"two" * 10
    assert fetch_range(uri, 0, 4) == b"twot"
    assert fetch_range(uri, 27, 100) == b"two"
    assert fetch_range(uri, 30, 10) == b""
    assert fetch(storage.join(archive, "empty")) == b""


def test_a_missing_object_is_a_reason(archive: str) -> None:
    with pytest.raises(ObjectError) as caught:
        fetch(storage.join(archive, "nothing"))
    assert caught.value.reason is Reason.FETCH_FAILED
    assert archive not in str(caught.value)


def test_an_object_above_the_limit_is_too_large(archive: str) -> None:
    with pytest.raises(ObjectError) as caught:
        fetch(storage.join(archive, "b/2.dcm"), max_bytes=29)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_listing_longer_than_a_page(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:03d}.dcm" for number in range(25)]
    for name in names:
        storage.write_bytes(storage.join(s3, name), b"x")
    monkeypatch.setattr(s3_listing, "PAGE", 10)
    assert [row["uri"] for row in list_objects(s3)] == [storage.join(s3, name) for name in names]


def test_the_listing_is_a_stream(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1").write_bytes(b"x")
    rows = list_objects(str(tmp_path))
    first = list(itertools.islice(rows, 1))
    (tmp_path / "c" / "2").write_bytes(b"x")
    assert len(first) + len(list(rows)) == 4


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "loop")
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert [Path(row["uri"]).name for row in list_objects(str(tmp_path))] == ["a", "link"]


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be listed"):
        list(list_objects(str(tmp_path / "nowhere")))


def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, good = [], 3

    def flaky(uri: str, start: int, length: int, etag: str | None, size: int | None) -> bytes:
        attempts.append(uri)
        if len(attempts) < good:
            raise OSError("reset")
        return b"body"

    monkeypatch.setattr(reading, "_read", flaky)
    monkeypatch.setattr(outages, "PAUSES_S", (0.0, 0.0, 0.0))
    assert fetch_range("/folder/key", 0, 4) == b"body"
    attempts.clear()
    good = 100
    with pytest.raises(ObjectError, match="OSError"):
        fetch_range("/folder/key", 0, 4)
    assert len(attempts) == 5


def test_members_of_zip_files_are_objects(store: str) -> None:
    names = {"b/2.dcm": b"two" * 1000, "a.dcm": b"one", "DICOMDIR": b"x", "__MACOSX/a.dcm": b"x"}
    storage.write_bytes(storage.join(store, "export.ZIP"), zipped(names))
    storage.write_bytes(storage.join(store, "broken.zip"), b"PK\x03\x04 and nothing more")
    rows = list(list_objects(store))
    url = storage.join(store, "export.ZIP")
    assert [row["uri"] for row in rows] == [storage.join(store, "broken.zip"), f"{url}::a.dcm", f"{url}::b/2.dcm"]
    assert [row["size"] for row in rows[1:]] == [3, 3000]
    assert fetch(f"{url}::a.dcm") == b"one"
    assert fetch_range(f"{url}::b/2.dcm", 2998, 10) == b"wo"
    assert fetch_range(f"{url}::b/2.dcm", 4000, 10) == b""
    assert list(list_objects(url)) == rows[1:]
    with pytest.raises(ObjectError) as caught:
        fetch(f"{url}::c.dcm")
    assert caught.value.reason is Reason.FETCH_FAILED


def test_a_member_that_stays_counts_as_unchanged(store: str) -> None:
    url = storage.join(store, "export.zip")
    storage.write_bytes(url, zipped({"a": b"one", "b": b"two"}))
    before = {row["uri"]: row["row_id"] for row in list_objects(store)}
    storage.write_bytes(url, zipped({"a": b"one", "b": b"TWO"}))
    after = {row["uri"]: row["row_id"] for row in list_objects(store)}
    assert [before[uri] == after[uri] for uri in sorted(before)] == [True, False]
    assert fetch(f"{url}::b") == b"TWO"


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return stream.getvalue()


def test_gzip_files_are_read_unpacked(store: str) -> None:
    body = bytes(range(256)) * 2000
    packed, plain, cut = (storage.join(store, name) for name in ("a.dcm.gz", "b.dcm.gz", "c.dcm.gz"))
    storage.write_bytes(packed, gzip.compress(body))
    storage.write_bytes(plain, body)
    storage.write_bytes(cut, gzip.compress(os.urandom(100_000))[:50_000])
    for url in (packed, plain):
        assert fetch(url) == body
        assert fetch_range(url, 300, 10) == body[300:310]
        assert fetch_range(url, len(body) - 2, 10) == body[-2:]
        assert fetch_range(url, len(body), 10) == b""
    assert 0 < len(fetch(cut)) < 100_000
    with pytest.raises(ObjectError, match="more than 100 bytes"):
        fetch(packed, max_bytes=100)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_objects_is_an_archive(store: str, suffix: str) -> None:
    url = storage.join(store, f"objects.{suffix}")
    listed = {"path": ["x/1.dcm", "2.dcm"], "size": [10, None], "etag": ["e1", None]}
    if suffix == "csv":
        storage.write_bytes(url, b"path,size,etag\nx/1.dcm,10,e1\n2.dcm,,\n")
    else:
        storage.write_table(url, pa.table(listed))
    rows = list(list_objects(url))
    assert [(row["uri"], row["size"], row["etag"]) for row in rows] == [
        (storage.join(store, "x/1.dcm"), 10, "e1"),
        (storage.join(store, "2.dcm"), None, ""),
    ]
    storage.write_bytes(storage.join(store, "bad.csv"), b"name,size\na,1\n")
    with pytest.raises(ConfigError, match="uri or path is needed"):
        list(list_objects(storage.join(store, "bad.csv")))


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_an_s3_inventory_is_an_archive(s3: str, kind: str) -> None:
    bucket, prefix = s3.removeprefix("s3://").split("/", 1)
    data = f"{prefix}/inventory/data/one.{'csv.gz' if kind == 'CSV' else 'parquet'}"
    if kind == "CSV":
        text = (
            f'"{bucket}","x/a+b%3A1.dcm","10","2026-01-02T03:04:05.000Z","e1","true","false"\n'
            f'"{bucket}","x/old.dcm","10","2026-01-02T03:04:05.000Z","e2","false","false"\n'
            f'"{bucket}","x/gone.dcm","","2026-01-02T03:04:05.000Z","","true","true"\n'
        )
        storage.write_bytes(f"s3://{bucket}/{data}", gzip.compress(text.encode()))
    else:
        when = pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("ms", tz="UTC"))
        row = {"bucket": [bucket], "key": ["x/a b:1.dcm"], "size": [10], "last_modified_date": when, "e_tag": ["e1"]}
        storage.write_table(f"s3://{bucket}/{data}", pa.table(row))
    url = storage.join(s3, "inventory/2026-01-03T00-00Z/manifest.json")
    schema = "Bucket, Key, Size, LastModifiedDate, ETag, IsLatest, IsDeleteMarker"
    storage.write_json(url, {"fileFormat": kind, "fileSchema": schema, "files": [{"key": data}]})
    rows = list(list_objects(url))
    assert [(row["uri"], row["size"], row["etag"]) for row in rows] == [(f"s3://{bucket}/x/a b:1.dcm", 10, "e1")]
    assert rows[0]["modified"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    storage.write_json(url, {"fileFormat": "ORC", "fileSchema": schema, "files": []})
    with pytest.raises(ConfigError, match="use CSV or Parquet"):
        list(list_objects(url))


@pytest.mark.parametrize(
    "names",
    [
        [f"p{patient:02d}/s{study}/{image}.dcm" for patient in range(30) for study in range(2) for image in range(2)],
        [f"only/{patient:02d}/{image}" for patient in range(40) for image in range(2)] + ["zz", "only.txt"],
        [f"deep/one/two/{number:03d}" for number in range(30)],
        ["p!/1", "p/1", "p/2", "p0/1", "pä/1"],
    ],
)
def test_ranges_listed_side_by_side_are_the_plain_listing(
    s3: str, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    for name in names:
        storage.write_bytes(storage.join(s3, name), b"x")
    expected = [storage.join(s3, name) for name in sorted(names, key=str.encode)]
    for page in (3, 7, 1000):
        monkeypatch.setattr(s3_listing, "PAGE", page)
        assert [row["uri"] for row in list_objects(s3)] == expected
