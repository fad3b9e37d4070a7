"""What all tests share: one Ray cluster, one S3 server on loopback, real radiographs and a phantom export."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
REAL = CHECKOUT.parent / "shared" / "real"
BUCKET = "radray-tests"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of moto's server with an empty bucket; this process and all its children are pointed at it."""
    import boto3
    from moto.server import ThreadedMotoServer

    from radray import storage

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        storage.forget_filesystems()
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield settings["AWS_ENDPOINT_URL"]
    storage.forget_filesystems()
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """A fresh prefix of the S3 server, `s3://bucket/prefix`."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty URL: once a folder, once a prefix of the S3 server."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")


def start_ray(num_cpus: int, num_gpus: int = 0, **variables: str) -> None:
    """Start a small Ray cluster of this process's own; its workers get `variables`."""
    from radray.cluster import start_here

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    start_here(num_cpus=num_cpus, num_gpus=num_gpus, object_store_memory=512 << 20, runtime_env={"env_vars": variables})


@pytest.fixture(scope="session")
def ray_cluster(s3_server: str) -> Iterator[None]:
    """The one Ray cluster of the test session, four logical CPUs; `radray.cluster.connect` finds it.

    It starts after the S3 server, so that its workers inherit the endpoint.
    """
    import ray

    start_ray(num_cpus=4, PYTHONPATH=str(CHECKOUT), OMP_NUM_THREADS="1")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """Folder of real radiographs: `archive/`, `labels.csv`, `odd/`, `odd.csv`."""
    if not (REAL / "labels.csv").is_file():
        pytest.skip("the folder of real radiographs (../shared/real beside the checkout) is not there")
    return REAL


@dataclass(frozen=True, kw_only=True)
class PhantomArchive:
    """A phantom export on disk."""

    archive: str
    """URL of its objects."""
    truth: str
    """URL of the table with the truth of each object."""


@pytest.fixture(scope="session")
def phantom_archive(tmp_path_factory: pytest.TempPathFactory) -> PhantomArchive:
    """A small phantom export: 150 objects of 160 px, bad ones included."""
    from radray.phantom.config import PhantomConfig
    from radray.phantom.export import write_phantom

    config = PhantomConfig(
        output=str(tmp_path_factory.mktemp("phantom") / "archive"), images=150, side_px=160, least_per_region=5, seed=7
    )
    write_phantom(config)
    return PhantomArchive(archive=config.output, truth=config.truth_url)
