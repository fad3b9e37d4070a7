"""One way from a URL to its file systems: a folder, `s3://bucket/prefix`, or any other scheme fsspec knows.

On-premises object stores (MinIO, Ceph) are set by the environment, which Ray workers inherit from the driver:

| variable | meaning |
|---|---|
| `AWS_ENDPOINT_URL` (or `AWS_ENDPOINT_URL_S3`) | endpoint, for example `https://minio.hospital.local:9000` |
| `AWS_CA_BUNDLE` | PEM file of the authority that signed the endpoint's certificate |
| `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` | as everywhere |
| `RADRAY_S3_ADDRESSING` | `path` (default where an endpoint is set), `virtual` or `auto` |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import fsspec

from radray.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs

ENVIRONMENT = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "RADRAY_S3_ADDRESSING",
    "RADRAY_CACHE",
)
"""Variables that name a store or a cache; `radray.cluster.connect` hands them to the workers."""

CHECK_TIMEOUT_S = 3.0
"""How long a check before any work waits for a store, in seconds."""

_FILES_AT_ONCE = 16
"""Parquet files that one data set reads."""


def environment() -> dict[str, str]:
    """The variables of `ENVIRONMENT` that are set here: what another process needs to reach the same stores."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


@dataclass(frozen=True, kw_only=True)
class Location:
    """A URL resolved.

    `url` is normalised (an absolute path for folders), `path` is what both file systems take.
    """

    url: str
    path: str
    fs: Any
    """fsspec file system."""

    @property
    def is_local(self) -> bool:
        """Whether the URL is a path of this machine."""
        return "://" not in self.url

    @property
    def arrow(self) -> pyarrow.fs.FileSystem:
        """The pyarrow file system of the same store."""
        return _arrow_filesystem(urlsplit(self.url).scheme if not self.is_local else "file")


def normalise_url(url: str) -> str:
    """An absolute path for folders (`file://` too), other URLs without a trailing slash."""
    if url.startswith("file://"):
        url = url[len("file://") :]
    if "://" not in url:
        return str(Path(url).expanduser().absolute())
    return url.rstrip("/")


def join(url: str, *parts: str) -> str:
    """`parts` below `url`."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def parent(url: str) -> str:
    """The URL one level up."""
    url = normalise_url(url)
    return url.rsplit("/", 1)[0]


def locate(url: str, *, timeout_s: float | None = None) -> Location:
    """Resolve `url`.

    Args:
        url: A folder or file path, or `scheme://…`.
        timeout_s: Connect and read timeout of the store, without retries; None for the store's defaults.

    Raises:
        ConfigError: Unknown scheme, or one whose package is not installed.
    """
    if not url:
        raise ConfigError("an empty URL was given; set a folder or a URL such as s3://bucket/prefix")
    url = normalise_url(url)
    scheme = urlsplit(url).scheme if "://" in url else "file"
    try:
        fs = _fsspec_filesystem(scheme, timeout_s)
    except ValueError as error:
        raise ConfigError(f"{url}: unknown URL scheme {scheme!r}; use a folder, s3:// or gs://") from error
    except ImportError as error:
        raise ConfigError(f"{url}: {scheme}:// needs another package: {error}") from error
    path = url if scheme in ("file", "http", "https") else url.split("://", 1)[1]
    return Location(url=url, path=path, fs=fs)


def s3_endpoint() -> str | None:
    """The endpoint set in the environment, if any."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def s3_addressing() -> str:
    """`path`, `virtual` or `auto`, from RADRAY_S3_ADDRESSING.

    Raises:
        ConfigError: Any other value.
    """
    style = os.environ.get("RADRAY_S3_ADDRESSING", "path" if s3_endpoint() else "auto")
    if style not in ("path", "virtual", "auto"):
        raise ConfigError(f"RADRAY_S3_ADDRESSING is {style!r}; set it to path, virtual or auto")
    return style


@lru_cache(maxsize=16)
def _fsspec_filesystem(scheme: str, timeout_s: float | None) -> Any:
    if scheme not in ("s3", "s3a"):
        return fsspec.filesystem(scheme)
    config: dict[str, Any] = {"s3": {"addressing_style": s3_addressing()}}
    if timeout_s is not None:
        config |= {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"total_max_attempts": 1}}
    client: dict[str, Any] = {}
    if ca_bundle := _ca_bundle():
        client["verify"] = ca_bundle
    filesystem = fsspec.filesystem(
        "s3",
        profile=os.environ.get("AWS_PROFILE") or None,
        endpoint_url=s3_endpoint(),
        config_kwargs=config,
        client_kwargs=client,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    if timeout_s is not None:
        filesystem.retries = 1  # s3fs tries five times by itself, whatever the client is told
    return filesystem


def _ca_bundle() -> str | None:
    path = os.environ.get("AWS_CA_BUNDLE") or None
    if path and not Path(path).is_file():
        raise ConfigError(f"AWS_CA_BUNDLE is {path!r}: no such file; set it to the PEM file of the store's authority")
    return path


@lru_cache(maxsize=16)
def _arrow_filesystem(scheme: str) -> pyarrow.fs.FileSystem:
    import pyarrow.fs as arrow_fs

    if scheme == "file":
        return arrow_fs.LocalFileSystem()
    if scheme not in ("s3", "s3a"):
        return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(_fsspec_filesystem(scheme, None)))
    options: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 60}
    if endpoint := s3_endpoint():
        parts = urlsplit(endpoint)
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
        options["force_virtual_addressing"] = s3_addressing() == "virtual"
    if ca_bundle := _ca_bundle():
        options["tls_ca_file_path"] = ca_bundle
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    return arrow_fs.S3FileSystem(**options)


def forget_filesystems() -> None:
    """Build file systems anew at their next use: for a process that changes the environment named above."""
    _fsspec_filesystem.cache_clear()
    _arrow_filesystem.cache_clear()


def check_input(url: str, option: str) -> str:
    """Check before any work that something lies at `url`; return it normalised.

    Raises:
        ConfigError: Nothing there, no right to read it, or the store cannot be reached within `CHECK_TIMEOUT_S`.
    """
    with _store_errors(url, option):
        _insist(lambda: _call_endpoint(url))
        place = locate(url, timeout_s=CHECK_TIMEOUT_S)
        if not _is_there(place, place.path):
            raise ConfigError(f"{option} {url}: nothing is there; give the URL of an existing folder or prefix")
    return place.url


def check_output(url: str, option: str) -> str:
    """Check before any work that `url` can be written to; return it normalised.

    Raises:
        ConfigError: The folder cannot be made, the bucket is missing, or the store cannot be reached in time.
    """
    with _store_errors(url, option):
        _insist(lambda: _call_endpoint(url))
        place = locate(url, timeout_s=CHECK_TIMEOUT_S)
        if place.is_local:
            Path(place.path).mkdir(parents=True, exist_ok=True)
            if not os.access(place.path, os.W_OK):
                raise ConfigError(f"{option} {url}: this folder cannot be written to; choose another")
        else:
            bucket = place.path.split("/", 1)[0]
            if not _is_there(place, bucket):
                raise ConfigError(f"{option} {url}: there is no bucket {bucket!r}; create it or choose another")
    return place.url


def _call_endpoint(url: str) -> None:
    """Ask the S3 endpoint for any answer at all: a second of imports sooner than s3fs could find out."""
    endpoint = s3_endpoint()
    if not endpoint or urlsplit(url).scheme not in ("s3", "s3a"):
        return
    import ssl
    import urllib.error
    import urllib.request

    class KeepRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            """A redirect is an answer."""

    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=_ca_bundle()))
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.build_opener(tls, KeepRedirect).open(request, timeout=CHECK_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, Exception) else error from None


def _is_there(place: Location, path: str) -> bool:
    """Like `fs.exists`, which takes a bucket that does not answer for one that is missing."""
    try:
        _insist(lambda: place.fs.info(path))
    except FileNotFoundError:
        return False
    return True


def _insist(ask: Callable[[], object]) -> None:
    """Ask again where a store answers with a fault of its own or hangs up; not where it does not answer in time."""
    for pause_s in (0.1, 0.3, 0.9):
        try:
            ask()
        except (FileNotFoundError, PermissionError, TimeoutError):
            raise
        except Exception as error:
            if "timeout" in f"{type(error).__name__}{error}".lower() or "timed out" in str(error).lower():
                raise
            time.sleep(pause_s)
        else:
            return
    ask()


@contextmanager
def _store_errors(url: str, option: str) -> Iterator[None]:
    """Turn whatever a store says into one line: what was given, what it said, what to set."""
    try:
        yield
    except ConfigError as error:
        raise error if str(error).startswith(option) else ConfigError(f"{option} {error}") from error
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if "://" not in url or url.startswith("file://"):
            raise ConfigError(f"{option} {url}: this folder cannot be used ({cause}); choose another") from error
        where = f" at {s3_endpoint()}" if url.startswith("s3") and s3_endpoint() else ""
        if isinstance(error, PermissionError):
            raise ConfigError(
                f"{option} {url}: the store{where} refuses access ({cause}); see AWS_PROFILE and the access keys"
            ) from error
        raise ConfigError(
            f"{option} {url}: the store{where} cannot be reached ({cause}); see AWS_ENDPOINT_URL and AWS_PROFILE"
        ) from error


def exists(url: str) -> bool:
    """Whether an object or a folder lies at `url`."""
    place = locate(url)
    return bool(place.fs.exists(place.path))


def list_files(url: str, suffix: str = "") -> list[str]:
    """URLs of the files directly below `url` that end with `suffix`, sorted; hidden ones (`_`, `.`) left out."""
    place = locate(url)
    if not place.fs.exists(place.path):
        return []
    found = [path for path in place.fs.ls(place.path, detail=False) if path.endswith(suffix)]
    prefix = "" if place.is_local else place.url.split("://", 1)[0] + "://"
    return sorted(prefix + path for path in found if not PurePosixPath(path).name.startswith(("_", ".")))


def modified(url: str) -> datetime:
    """When the object at `url` was last written: UTC, whole seconds."""
    place = locate(url)
    return datetime.fromtimestamp(place.fs.modified(place.path).timestamp(), UTC).replace(microsecond=0)


def size(url: str) -> int:
    """Bytes of the object at `url`."""
    place = locate(url)
    return int(place.fs.size(place.path))


def read_bytes(url: str) -> bytes:
    """The whole object at `url`."""
    place = locate(url)
    return bytes(place.fs.cat_file(place.path))


def write_bytes(url: str, body: bytes) -> None:
    """Write `body` at `url` so that a reader sees all of it or nothing."""
    place = locate(url)
    if place.is_local:
        target = Path(place.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_bytes(body)
        draft.replace(target)
    else:
        place.fs.pipe_file(place.path, body)


def read_json(url: str) -> Any:
    """The JSON document at `url`."""
    return json.loads(read_bytes(url))


def write_json(url: str, document: Mapping[str, Any]) -> None:
    """Write `document` as indented JSON."""
    write_bytes(url, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_table(url: str, columns: list[str] | None = None, filter: Any = None) -> pa.Table:
    """The Parquet files directly below `url` (or the one file there) as one table.

    Args:
        url: A folder of Parquet files, or one file.
        columns: Only these columns.
        filter: A `pyarrow.dataset` expression that selects rows.

    Raises:
        ConfigError: No Parquet file is there.
    """
    import pyarrow as pa
    import pyarrow.dataset as dataset

    place = locate(url)
    files = [place.path] if url.endswith(".parquet") else [locate(file).path for file in list_files(url, ".parquet")]
    if not files:
        raise ConfigError(f"{url}: no Parquet files are there; run the stage that writes them first")
    # A data set keeps the footer of each of its files: a few files at a time, or footers outweigh what is asked for.
    schema, parts = None, []
    for first in range(0, len(files), _FILES_AT_ONCE):
        some = dataset.dataset(
            files[first : first + _FILES_AT_ONCE], schema=schema, filesystem=place.arrow, format="parquet"
        )
        schema = some.schema
        parts.append(some.to_table(columns=columns, filter=filter))
    return pa.concat_tables(parts)


def write_table(url: str, table: pa.Table) -> None:
    """Write one Parquet file (zstd) so that a reader sees all of it or nothing."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    write_bytes(url, sink.getvalue().to_pybytes())


@contextmanager
def open_output(url: str) -> Iterator[Any]:
    """A binary stream whose content is at `url` once the block has ended well, and nowhere otherwise."""
    place = locate(url)
    if not place.is_local:
        # A store shows an object when its last part is there; an upload that breaks off is given up.
        with place.fs.transaction, place.fs.open(place.path, "wb") as stream:
            yield stream
        return
    target = Path(place.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            yield stream
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def remove(url: str) -> None:
    """Delete the object or the folder at `url`, if there is one."""
    place = locate(url)
    if place.fs.exists(place.path):
        place.fs.rm(place.path, recursive=True)
