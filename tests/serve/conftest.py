"""What the tests of the API share."""

from __future__ import annotations

from pathlib import Path

import pytest

from radray import storage
from radray.ensemble import Bundle
from serve.keys import NewKeyConfig, add_key
from tests.conftest import PhantomArchive
from tests.serve.local import LocalService, save_bundle, save_next_bundle


@pytest.fixture(scope="session")
def saved_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """A small random bundle, and its folder."""
    folder = str(tmp_path_factory.mktemp("bundle"))
    return save_bundle(folder), folder


@pytest.fixture(scope="session")
def next_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """A bundle that is rolled out in place of the saved one, and its folder."""
    folder = str(tmp_path_factory.mktemp("next"))
    return save_next_bundle(folder), folder


@pytest.fixture(scope="session")
def radiographs(phantom_archive: PhantomArchive) -> list[bytes]:
    """Twelve readable phantom radiographs, with the identities that real ones have."""
    truth = storage.read_table(phantom_archive.truth).to_pylist()
    good = [row["uri"] for row in truth if row["kind"] == "radiograph"]
    return [Path(uri).read_bytes() for uri in good[:12]]


@pytest.fixture
def local(saved_bundle: tuple[Bundle, str]) -> LocalService:
    """The API in this process, without keys."""
    bundle, folder = saved_bundle
    return LocalService(bundle, folder, max_body_mib=1)


@pytest.fixture
def keyed(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A keys file, and what a request with its key of all roles sends."""
    url = str(tmp_path / "keys.csv")
    key = add_key(NewKeyConfig(keys=url, name="all", roles=("predict", "relabel", "review")))
    return url, {"Authorization": f"Bearer {key}"}
