"""Reading an archive from a store that fails: nothing is lost, nothing is wrong, and it is not asked without end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radray import outages, storage
from radray.archive import fetch, fetch_range, list_objects
from radray.errors import ConfigError, ObjectError, Reason
from tests.conftest import BUCKET
from tests.faulty_store import FAULTS, FaultyStore, faulty_store

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def archive(s3: str) -> tuple[str, dict[str, bytes]]:
    """An archive of 60 objects, and their bodies."""
    url = f"{s3}/archive"
    bodies = {f"{url}/{number:03d}.dcm": os.urandom(2000 + 50 * number) for number in range(60)}
    for uri, body in bodies.items():
        storage.write_bytes(uri, body)
    return url, bodies


@pytest.fixture
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PAUSES_S", (0.01, 0.02, 0.05, 0.1, 0.2, 0.4))
    monkeypatch.setattr(outages, "_ASK_EVERY_S", 0.2)


@pytest.fixture
def store(s3_server: str, quick_pauses: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """The store behind a proxy that does nothing yet."""
    with faulty_store(s3_server, seed=20, share=0.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        storage.forget_filesystems()
        yield proxy
    monkeypatch.undo()
    storage.forget_filesystems()


def test_every_byte_arrives_and_attempts_are_few(archive: tuple[str, dict[str, bytes]], store: FaultyStore) -> None:
    url, bodies = archive
    store.share = 0.15
    listed = list(list_objects(url))
    assert [row["uri"] for row in listed] == sorted(bodies)
    for _ in range(2):
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda row: fetch(row["uri"], etag=row["etag"]), listed))
        assert found == [bodies[row["uri"]] for row in listed]
    assert set(FAULTS) <= set(store.done), f"not every fault was met: {store.done}"
    of_objects = [count for path, count in store.requests.items() if path.endswith(".dcm")]
    assert sum(of_objects) < 2 * 2 * len(bodies)


def test_the_checks_before_any_work_bear_with_a_store_that_stumbles(
    archive: tuple[str, dict[str, bytes]], store: FaultyStore
) -> None:
    url, _ = archive
    store.share = 0.15
    for number in range(10):
        storage.forget_filesystems()
        storage.check_input(url, "--archive")
        storage.check_output(f"{url}-out-{number}", "--output")
    assert store.done["500"] + store.done["503"] + store.done["reset_before"] > 0


def test_work_that_a_store_breaks_is_begun_again(archive: tuple[str, dict[str, bytes]], store: FaultyStore) -> None:
    url, _ = archive
    begun = []

    def work() -> int:
        begun.append(len(begun))
        if len(begun) < 3:
            raise OSError("AWS Error NETWORK_CONNECTION")
        return 7

    assert outages.bear(url, work) == 7 and len(begun) == 3
    begun.clear()
    with pytest.raises(OSError):
        outages.bear("/a/folder", work)
    assert len(begun) == 1, "a folder is not asked again"
    store.expired = True
    with pytest.raises(ConfigError, match="refuses the credentials"):
        outages.bear(url, lambda: storage.read_json(f"{url}/none.json"))


def test_an_object_that_is_too_large_by_its_listing_is_not_fetched(store: FaultyStore, s3: str) -> None:
    with pytest.raises(ObjectError) as caught:
        fetch(f"{s3}/archive/none.dcm", size=11, max_bytes=10)
    assert caught.value.reason is Reason.TOO_LARGE
    assert not sum(store.requests.values())


@pytest.mark.parametrize("fault", ["503", "reset_before", "short_body", "cut_range", "wrong_etag"])
def test_an_object_that_always_fails_is_a_row_after_eight_attempts(
    fault: str, archive: tuple[str, dict[str, bytes]], store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bodies = archive
    broken, whole = sorted(bodies)[:2]
    rows = {row["uri"]: row for row in list_objects(url)}
    path = broken.removeprefix("s3://")
    drawn = store.fault
    monkeypatch.setattr(
        store, "fault", lambda method, asked: drawn(method, asked) or (fault if path in asked else None)
    )
    with pytest.raises(ObjectError) as caught:
        fetch(broken, etag=rows[broken]["etag"])
    assert caught.value.reason is Reason.FETCH_FAILED
    # The HTTP client asks once more by itself when a connection that it had kept is reset.
    assert store.requests[f"GET /{path}"] in ((8, 16) if fault == "reset_before" else (8,))
    assert fetch(whole, etag=rows[whole]["etag"]) == bodies[whole]


def test_an_object_that_changes_after_the_listing_gives_no_bytes(store: FaultyStore, s3: str, tmp_path: Path) -> None:
    for url in (f"{s3}/archive", str(tmp_path)):
        storage.write_bytes(f"{url}/a.dcm", b"as it was listed")
        storage.write_bytes(f"{url}/b.dcm.gz", b"not packed at all")
        rows = list(list_objects(url))
        time.sleep(0.01)
        for row in rows:
            assert fetch(row["uri"], etag=row["etag"])
            storage.write_bytes(row["uri"], b"of the same size"[:16])
            with pytest.raises(ObjectError, match="changed since it was listed"):
                fetch_range(row["uri"], 0, 8, etag=row["etag"])
            assert fetch(row["uri"])


def test_objects_that_are_not_there_or_empty_are_told_at_once(store: FaultyStore, s3: str) -> None:
    storage.write_bytes(f"{s3}/archive/empty.dcm", b"")
    assert fetch(f"{s3}/archive/empty.dcm") == b""
    before = sum(store.requests.values())
    with pytest.raises(ObjectError, match="FileNotFoundError"):
        fetch(f"{s3}/archive/none.dcm")
    assert sum(store.requests.values()) == before + 1


def test_a_bucket_that_vanishes_is_waited_for(
    archive: tuple[str, dict[str, bytes]], store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bodies = archive
    uri = min(bodies)
    store.gone_for(2)
    assert fetch(uri) == bodies[uri]
    store.gone_for(2)
    assert len(list(list_objects(url))) == len(bodies)
    monkeypatch.setattr(outages, "OUTAGE_S", 1.0)
    store.gone_for(60)
    with pytest.raises(ConfigError, match=rf"^s3://{BUCKET}: the store at http.* has not answered for 1 s; .*again"):
        fetch(uri)


@pytest.mark.parametrize("refusal", [(403, "ExpiredToken"), (400, "ExpiredToken"), (403, "InvalidAccessKeyId")])
def test_credentials_that_expire_stop_the_run_and_make_no_row(
    refusal: tuple[int, str], archive: tuple[str, dict[str, bytes]], store: FaultyStore
) -> None:
    url, bodies = archive
    store.refusal, store.expired = refusal, True
    line = rf"^s3://{BUCKET}: the store at http\S+ refuses the credentials \({refusal[1]}\); renew them .*what is done"
    with pytest.raises(ConfigError, match=line):
        fetch(min(bodies))
    with pytest.raises(ConfigError, match=line):
        list(list_objects(url))
    store.expired = False
    assert fetch(min(bodies)) == bodies[min(bodies)]


def test_what_arrow_says_is_understood_too(archive: tuple[str, dict[str, bytes]], store: FaultyStore) -> None:
    url, bodies = archive
    files = storage.locate(url).arrow
    place = storage.locate(min(bodies)).path
    for refusal in ((403, "ExpiredToken"), (400, "ExpiredToken"), (403, "InvalidAccessKeyId")):
        store.refusal, store.expired = refusal, True
        with pytest.raises(OSError) as caught:
            files.open_output_stream(f"{place}.new").close()
        assert outages.refusal(caught.value), str(caught.value)
    # The answer to HEAD has no body that could say why: it is asked again in a way that has one.
    with pytest.raises(OSError) as caught:
        files.open_input_stream(place).read()
    assert outages.is_of_store(caught.value)
    with pytest.raises(ConfigError, match="refuses the credentials"):
        outages.await_store(url)
    store.expired = False
    store.gone_for(60)
    with pytest.raises(OSError) as caught:
        files.open_output_stream(f"{place}.new").close()
    assert outages.is_of_store(caught.value) and not outages.refusal(caught.value)
