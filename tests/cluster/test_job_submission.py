"""A real job on a real cluster of two nodes: sent to the job server, its result read from the object store."""

from __future__ import annotations

import json
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from radray import storage
from tests.conftest import CHECKOUT, PhantomArchive

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def job_server(s3_server: str) -> Iterator[str]:
    """Address of the job server of a cluster with two nodes of two logical CPUs each."""
    from ray.cluster_utils import Cluster

    def node() -> dict[str, int]:
        # Ray's own default port is taken where another cluster runs on this machine.
        return {"num_cpus": 2, "object_store_memory": 128 << 20, "dashboard_agent_listen_port": free_port()}

    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node(), "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0},
    )
    cluster.add_node(**node())
    yield f"http://{cluster.head_node.webui_url}"
    cluster.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_end(client: object, job: str) -> str:
    from ray.job_submission import JobStatus

    deadline = time.monotonic() + 420
    while not (status := client.get_job_status(job)).is_terminal():  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, client.get_job_logs(job)  # type: ignore[attr-defined]
        time.sleep(1)
    return "succeeded" if status == JobStatus.SUCCEEDED else "failed"


def submit(address: str, arguments: list[str]) -> tuple[str, str]:
    """Send `python jobs/…` as `ray job submit` does; how it ended, and what it printed."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    environment = {
        "working_dir": str(CHECKOUT),
        "excludes": [".venv", ".git", "demo", "tests"],
        "env_vars": {**storage.environment(), "RADRAY_PATIENT_KEY": "a long secret of the tests"},
    }
    deadline = time.monotonic() + 120
    while True:
        try:
            job = client.submit_job(entrypoint=shlex.join([sys.executable, *arguments]), runtime_env=environment)
            break
        except RuntimeError as error:
            # The job server answers before the nodes' agents have come up.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(2)
    return wait_for_end(client, job), client.get_job_logs(job)


def test_a_submitted_job_indexes_an_archive_into_s3(job_server: str, phantom_archive: PhantomArchive, s3: str) -> None:
    output = storage.join(s3, "index")
    ended, log = submit(job_server, ["jobs/index.py", "--archive", phantom_archive.archive, "--output", output])
    assert ended == "succeeded", log
    assert "4 logical CPUs" in log, "the job joins the cluster of two nodes instead of starting one"
    summary = storage.read_json(storage.join(output, "summary.json"))
    objects = sum(1 for path in Path(phantom_archive.archive).rglob("*") if path.is_file())
    assert summary["rows_in"] == summary["rows_out"] == objects
    assert json.loads(log.strip().splitlines()[-1]) == summary
    assert storage.read_table(output, columns=["uri"]).num_rows == objects


def test_a_submitted_job_with_a_bad_option_fails_with_one_line(job_server: str, tmp_path: Path) -> None:
    ended, log = submit(job_server, ["jobs/phantom.py", "--output", str(tmp_path / "archive"), "--images", "none"])
    assert ended == "failed"
    assert [line for line in log.splitlines() if line.startswith("radray: ")], log
    assert "Traceback" not in log
