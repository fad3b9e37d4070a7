"""Archives by HTTP: the allow-list, and a job on a cluster with a job server that is followed, stopped and outlived."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from radray import storage
from serve.problems import ApiError
from serve.relabels import Relabels, check_allowed, read_progress
from tests.conftest import PhantomArchive
from tests.serve.local import LocalService
from tests.serve.openapi import check_operations


@pytest.mark.parametrize(
    "url", ["s3://pacs/2024", "s3://pacs/2024/a", "/archive", "/archive/x/../y", "file:///archive/z"]
)
def test_urls_under_the_allow_list_are_taken(url):
    check_allowed(url, ("s3://pacs/2024/", "/archive"))


@pytest.mark.parametrize(
    "url",
    ["s3://pacs/2024-other", "s3://pacs", "s3://pacs/2024/../2023", "gs://pacs/2024", "/archive/../etc", "/etc", "",
     "http://169.254.169.254/latest", "simplecache::s3://pacs/2024", "s3://pacs/2024@evil/", "/archive\0"],
)  # fmt: skip
def test_other_urls_are_refused(url):
    with pytest.raises(ApiError):
        check_allowed(url, ("s3://pacs/2024/", "/archive"))
    with pytest.raises(ApiError):
        check_allowed("s3://pacs/2024", ())


def test_links_out_of_an_allowed_folder_are_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    os.symlink(tmp_path / "closed", tmp_path / "open" / "link")
    check_allowed(str(tmp_path / "open" / "new"), (str(tmp_path / "open"),))
    with pytest.raises(ApiError, match="allow-list"):
        check_allowed(str(tmp_path / "open" / "link"), (str(tmp_path / "open"),))


def test_progress_is_the_last_line_of_its_kind():
    log = "score: 0 of 1,200 rows · 0.0 rows/s · starting\nscore: 64 of 1,200 rows · 12.5 rows/s · ETA 91 s\nother\n"
    assert read_progress(log) == {"rows_done": 64, "rows_total": 1200, "rows_per_s": 12.5, "eta_s": 91.0}
    log += "score: 1,200 of 1,200 rows · 20.0 rows/s · in 60 s\n"
    assert read_progress(log)["rows_done"] == 1200
    assert read_progress("ray: 4 logical CPUs")["rows_done"] is None


def test_what_a_request_may_not_say_is_refused(saved_bundle, tmp_path):
    bundle, folder = saved_bundle
    known = Relabels(bundle=folder, allowed=(str(tmp_path),), address="http://127.0.0.1:9")
    service = LocalService(bundle, folder, relabels=known)
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "a.dcm").write_bytes(b"x")
    good = {"archive": str(archive), "output": str(tmp_path / "out")}
    for change, status, reason in (
        ({"archive": "/etc"}, 403, "forbidden"),
        ({"output": "/etc/radray"}, 403, "forbidden"),
        ({"labels": "table:/etc/passwd"}, 403, "forbidden"),
        ({"labels": "path:(a+)+$"}, 422, "invalid"),
        ({"archive": str(tmp_path / "absent")}, 422, "invalid"),
        ({"output": str(archive / "below")}, 422, "invalid"),
        ({"patient_key": "file:/etc/shadow"}, 422, "invalid"),
        ({"max_workers": 0}, 422, "invalid"),
        ({}, 503, "no_job_server"),
    ):
        reply = service.send("POST", "/v1/relabels", json=good | change)
        assert (reply.status_code, reply.json()["reason"]) == (status, reason), change
    assert (
        service.send("POST", "/v1/relabels", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    )
    assert (
        service.send("POST", "/v1/relabels", content=b"{", headers={"Content-Type": "application/json"}).json()[
            "reason"
        ]
        == "invalid"
    )
    assert service.send("GET", "/v1/relabels/..").status_code in (404, 405)
    assert service.send("GET", "/v1/relabels/raysubmit_other").status_code == 404


@dataclass(frozen=True, kw_only=True)
class JobCluster:
    """A cluster with a job server."""

    address: str
    """Of its global control store, as a replica of Serve knows it."""


@pytest.fixture(scope="module")
def job_cluster() -> Iterator[JobCluster]:
    from ray.cluster_utils import Cluster

    from tests.cluster.test_job_submission import free_port

    head = {"num_cpus": 4, "object_store_memory": 128 << 20, "dashboard_agent_listen_port": free_port()}
    head |= {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield JobCluster(address=cluster.address)
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_operations_with_a_job_server_are_as_the_openapi_says(job_cluster, saved_bundle, keyed, radiographs, tmp_path):
    known = Relabels(bundle=saved_bundle[1], allowed=(str(tmp_path),), address=job_cluster.address)
    service = LocalService(*saved_bundle, known, api_keys=keyed[0])
    deadline = time.monotonic() + 120
    while (reply := service.send("GET", "/v1/relabels", headers=keyed[1])).status_code != 200:
        assert time.monotonic() < deadline, reply.text
        time.sleep(1)
    seen = check_operations(service, keyed[1], radiographs[0], examples=10)
    assert 200 in seen["GET /v1/relabels"] and {403, 422} & seen["POST /v1/relabels"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_archive_is_relabelled_as_by_hand_and_followed_across_a_restart(
    job_cluster: JobCluster, saved_bundle, phantom_archive: PhantomArchive, tmp_path: Path, radiographs
) -> None:
    bundle, folder = saved_bundle
    allowed = (storage.parent(phantom_archive.archive), str(tmp_path))

    def fresh() -> LocalService:
        """A service as after a restart: it knows nothing of its own."""
        return LocalService(bundle, folder, Relabels(bundle=folder, allowed=allowed, address=job_cluster.address))

    asked = {"archive": phantom_archive.archive, "output": str(tmp_path / "predictions"), "max_workers": 1}
    deadline = time.monotonic() + 120
    while (started := fresh().send("POST", "/v1/relabels", json=asked)).status_code != 202:
        assert started.status_code in (500, 503) and time.monotonic() < deadline, started.text
        time.sleep(2)  # the job server answers before the node's agent has come up
    name = started.json()["id"]
    assert started.headers["location"] == f"/v1/relabels/{name}"
    assert [job["id"] for job in fresh().send("GET", "/v1/relabels").json()] == [name]
    while (job := fresh().send("GET", f"/v1/relabels/{name}").json())["status"] in ("pending", "running"):
        assert time.monotonic() < deadline + 400, job
        time.sleep(1)
    assert job["status"] == "succeeded", job
    assert job["summary"]["rows_in"] == job["summary"]["rows_out"] == job["rows_total"] == 150
    assert job["asked_by"] == "local" and job["ended"] >= job["started"]
    assert fresh().send("DELETE", f"/v1/relabels/{name}").json()["reason"] == "finished"
    rows = {row["uri"]: row for row in storage.read_table(job["summary"]["folder"]).to_pylist()}
    compared = 0
    for uri, row in list(rows.items())[:40]:
        if row["status"] == "ok":
            answer = fresh().send("POST", "/v1/region", content=storage.read_bytes(uri)).json()
            given = [answer["probabilities"][region] for region in bundle.regions.names]
            assert given == pytest.approx(row["probabilities"], abs=1e-5)
            assert (answer["region"], answer["header_label"]) == (row["region"], row["header_label"])
            compared += 1
    assert compared > 10
    again = fresh().send("POST", "/v1/relabels", json=asked | {"output": str(tmp_path / "other")}).json()["id"]
    stopped = fresh().send("DELETE", f"/v1/relabels/{again}")
    assert stopped.status_code == 200, stopped.text
    while (job := fresh().send("GET", f"/v1/relabels/{again}").json())["status"] in ("pending", "running"):
        assert time.monotonic() < deadline + 500, job
        time.sleep(0.5)
    assert job["status"] == "stopped"
