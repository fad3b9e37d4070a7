"""Storage: a folder and an S3 server give the same answers, and a store that is not there says so in one line."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from radray import storage
from radray.errors import ConfigError

TABLE = pa.table({"uri": ["a", "b", "c"], "row_id": pa.array([1, 2, 3], pa.int64())})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment that names no store; file systems are built anew before and after the test."""
    for name in storage.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    storage.forget_filesystems()
    yield monkeypatch
    storage.forget_filesystems()


def test_bytes_and_json_come_back(store: str) -> None:
    url = storage.join(store, "deep", "er", "object")
    assert not storage.exists(url)
    storage.write_bytes(url, b"\x00\x01")
    storage.write_bytes(url, b"\x02" * 70_000)
    assert storage.read_bytes(url) == b"\x02" * 70_000
    storage.write_json(storage.join(store, "summary.json"), {"rows_in": 3, "title": "Schädel"})
    assert storage.read_json(storage.join(store, "summary.json")) == {"rows_in": 3, "title": "Schädel"}
    assert storage.exists(storage.parent(url))


def test_list_files_is_sorted_and_leaves_out_hidden_and_nested(store: str) -> None:
    for name in ("b.parquet", "a.parquet", "c.txt", "_metadata.parquet", ".hidden.parquet", "sub/d.parquet"):
        storage.write_bytes(storage.join(store, name), b"x")
    assert storage.list_files(store, ".parquet") == [storage.join(store, name) for name in ("a.parquet", "b.parquet")]
    assert storage.list_files(storage.join(store, "absent")) == []


def test_a_table_written_through_fsspec_is_read_through_pyarrow_and_back(store: str) -> None:
    first, second = storage.join(store, "table", "1.parquet"), storage.join(store, "table", "2.parquet")
    storage.write_table(first, TABLE)
    place = storage.locate(second)
    parquet.write_table(TABLE, place.path, filesystem=place.arrow)
    with place.fs.open(place.path, "rb") as file:
        assert parquet.read_table(file).equals(TABLE)
    both = storage.read_table(storage.join(store, "table"))
    assert both.column("row_id").to_pylist() == [1, 2, 3, 1, 2, 3]


def test_read_table_selects_columns_and_rows(store: str) -> None:
    import pyarrow.compute as pc

    url = storage.join(store, "one.parquet")
    storage.write_table(url, TABLE)
    assert storage.read_table(url, columns=["uri"], filter=pc.field("row_id") > 1).to_pydict() == {"uri": ["b", "c"]}


def test_read_table_of_many_files_has_the_first_ones_columns(tmp_path: Path) -> None:
    for number in range(40):
        kind = pa.int32() if number == 20 else pa.int64()
        table = pa.table({"uri": [f"{number:02d}"], "row_id": pa.array([number], kind)})
        storage.write_table(
            str(tmp_path / f"{number:02d}.parquet"), table.drop_columns(["row_id"]) if number == 30 else table
        )
    table = storage.read_table(str(tmp_path))
    assert table["uri"].to_pylist() == [f"{number:02d}" for number in range(40)]
    assert table["row_id"].to_pylist() == [None if number == 30 else number for number in range(40)]


def test_read_table_of_an_empty_folder_names_what_to_do(store: str) -> None:
    with pytest.raises(ConfigError, match="run the stage that writes them first"):
        storage.read_table(storage.join(store, "images"))


def test_remove_takes_a_folder_with_everything_below(store: str) -> None:
    storage.write_bytes(storage.join(store, "run", "a", "b"), b"x")
    storage.remove(storage.join(store, "run"))
    storage.remove(storage.join(store, "run"))
    assert not storage.exists(storage.join(store, "run"))


def test_checks_pass_where_something_lies(store: str) -> None:
    storage.write_bytes(storage.join(store, "archive", "object"), b"x")
    assert storage.check_input(storage.join(store, "archive"), "--archive") == storage.join(store, "archive")
    assert storage.check_output(storage.join(store, "new", "place"), "--output") == storage.join(store, "new", "place")


def test_check_input_refuses_what_is_not_there(store: str) -> None:
    with pytest.raises(ConfigError, match=r"^--archive .*: nothing is there"):
        storage.check_input(storage.join(store, "absent"), "--archive")


@pytest.mark.usefixtures("s3_server")
def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(ConfigError, match="nothing is there"):
        storage.check_input("s3://no-such-bucket/prefix", "--archive")
    with pytest.raises(ConfigError, match="there is no bucket 'no-such-bucket'"):
        storage.check_output("s3://no-such-bucket/prefix", "--output")


def test_check_output_refuses_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="--output"):
        storage.check_output(str(tmp_path / "file" / "below"), "--output")
    with pytest.raises(ConfigError, match="--output"):
        storage.check_output(str(tmp_path / "file"), "--output")


@pytest.mark.parametrize("url", ["", "nope://bucket/prefix"])
def test_a_url_of_no_known_scheme_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        storage.check_input(url, "--archive")


def test_urls_are_normalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.normalise_url("archive/") == str(tmp_path / "archive")
    assert storage.normalise_url(f"file://{tmp_path}/archive") == str(tmp_path / "archive")
    assert storage.normalise_url("s3://bucket/prefix/") == "s3://bucket/prefix"


@pytest.fixture(params=["closed port", "silent", "no route"])
def dead_endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint that refuses, one that accepts and never answers, and an address that leads nowhere (RFC 5737)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(8)
        port = listener.getsockname()[1]
        yield "http://192.0.2.1:9000" if request.param == "no route" else f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("check", [storage.check_input, storage.check_output])
def test_an_unreachable_store_is_refused_within_five_seconds(
    check: object, dead_endpoint: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ENDPOINT_URL", dead_endpoint)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=re.escape(dead_endpoint)) as caught:
        check("s3://bucket/prefix", "--archive")  # type: ignore[operator]
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)


class _Recorder(BaseHTTPRequestHandler):
    """Answers 404 and notes who asked for what."""

    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """An endpoint and the (path, Authorization header) of the requests that it got."""
    seen: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorder", (_Recorder,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_profile_and_path_style_reach_the_endpoint_from_both_file_systems(
    recorder: tuple[str, list[tuple[str, str]]], environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint, seen = recorder
    credentials = tmp_path / "credentials"
    credentials.write_text("[hospital]\naws_access_key_id = HOSPITALKEY\naws_secret_access_key = secret\n")
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    environment.setenv("AWS_PROFILE", "hospital")
    environment.setenv("AWS_ENDPOINT_URL", endpoint)

    place = storage.locate("s3://bucket/prefix/object")
    assert not place.fs.exists(place.path)
    asked_by_fsspec = len(seen)
    with pytest.raises(OSError):
        place.arrow.open_input_file(place.path)
    assert 0 < asked_by_fsspec < len(seen)
    for path, authorization in seen:
        assert path.startswith("/bucket"), "path style puts the bucket into the path"
        assert "Credential=HOSPITALKEY/" in authorization


def test_an_unknown_profile_is_refused_in_one_line(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody") as caught:
        storage.check_input("s3://bucket/prefix", "--archive")
    assert "\n" not in str(caught.value)


def test_an_unknown_addressing_style_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RADRAY_S3_ADDRESSING", "sideways")
    with pytest.raises(ConfigError, match="set it to path, virtual or auto"):
        storage.check_input("s3://bucket/prefix", "--archive")


def test_a_missing_ca_bundle_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
    environment.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    with pytest.raises(ConfigError, match="/no/such/file.pem"):
        storage.check_input("s3://bucket/prefix", "--archive")


def test_a_writer_leaves_no_draft_behind(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "object"), b"x")
    assert os.listdir(tmp_path) == ["object"]
