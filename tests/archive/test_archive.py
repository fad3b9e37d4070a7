"""Listing and reading, in folders and on S3."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from radray import storage
from radray.archive import fetch, fetch_range, list_objects, reading
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
        assert row["row_id"] == row_id(row["uri"])
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
    from radray.archive import listing

    names = [f"{number:03d}.dcm" for number in range(25)]
    for name in names:
        storage.write_bytes(storage.join(s3, name), b"x")
    monkeypatch.setattr(listing, "_PAGE", 10)
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
    attempts = []

    def flaky(uri: str, start: int, length: int) -> bytes:
        attempts.append(uri)
        if len(attempts) < 3:
            raise OSError("reset")
        return b"body"

    monkeypatch.setattr(reading, "_read", flaky)
    monkeypatch.setattr(reading, "_PAUSES_S", (0.0, 0.0, 0.0))
    assert fetch_range("s3://bucket/key", 0, 4) == b"body"
    attempts.clear()
    monkeypatch.setattr(reading, "_PAUSES_S", (0.0,))
    with pytest.raises(ObjectError, match="after 2 attempts"):
        fetch_range("s3://bucket/key", 0, 4)
