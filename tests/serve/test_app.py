"""The Serve application on the test cluster: a phantom radiograph, a body that is none, and what the logs hold."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from radray import storage
from radray.ensemble import Bundle
from radray.errors import ConfigError
from radray.images.prepare import prepare_image
from radray.review.reviewers import add_reviewers
from radray.review.verdicts import parse_verdicts
from radray.score.config import ScoreConfig
from serve.settings import Settings
from tests.conftest import CHECKOUT
from tests.review.small_queue import write_small_queue
from tests.serve.application import running
from tests.serve.local import SIDE, multipart

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, kw_only=True)
class Service:
    """The application as it runs."""

    url: str
    bundle: Bundle
    folder: str
    findings: str
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def service(
    ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, saved_bundle: tuple[Bundle, str]
) -> Iterator[Service]:
    bundle, folder = saved_bundle
    findings = write_small_queue(tmp_path_factory.mktemp("queue"))
    tokens = add_reviewers(storage.join(findings, "reviewers.csv"), ["Ann", "Ben"])
    with running(folder, findings=findings) as url:
        yield Service(url=url, bundle=bundle, folder=folder, findings=findings, tokens=tokens)


def test_http_the_bundle_and_the_bulk_job_give_the_same_probabilities(
    service: Service, radiographs: list[bytes], tmp_path: Path
) -> None:
    from radray.score.stage import run_score

    prepared = [prepare_image(body, service.bundle.cleaning) for body in radiographs]
    usable = [index for index, row in enumerate(prepared) if row["status"] == "ok"]
    assert len(usable) >= 8
    images = np.stack([np.frombuffer(prepared[i]["image"], np.uint8).reshape(SIDE, SIDE) for i in usable])
    expected = service.bundle.predict(images)
    archive = tmp_path / "archive"
    archive.mkdir()
    for index in usable:
        (archive / f"{index}.dcm").write_bytes(radiographs[index])
    job = ScoreConfig(
        archive=str(archive), bundle=service.folder, output=str(tmp_path / "out"), patient_key="none", max_workers=1
    )
    rows = {row["uri"]: row for row in storage.read_table(run_score(job)["folder"]).to_pylist()}
    for place, index in enumerate(usable):
        reply = httpx.post(f"{service.url}/v1/region", content=radiographs[index], timeout=60)
        assert reply.status_code == 200, reply.text
        answer, row = reply.json(), rows[str(archive / f"{index}.dcm")]
        names = service.bundle.regions.names
        got = [answer["probabilities"][name] for name in names]
        np.testing.assert_allclose(got, expected.probabilities[place], atol=1e-5)
        np.testing.assert_allclose(row["probabilities"], expected.probabilities[place], atol=1e-5)
        assert answer["region"] == names[expected.region[place]] == answer["top"][0]["region"] == row["region"]
        assert answer["code"] == service.bundle.regions.regions[expected.region[place]].snomed_code
        assert answer["bundle"] == service.bundle.digest
        assert answer["header_label"] == row["header_label"]
        assert set(answer["members"]) == {"simclr", "byol"}
        assert answer["agrees"] in ({None} if answer["header_label"] is None else {True, False})


def without_pixels(body: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(body))
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_bodies_that_cannot_be_used_are_refused_with_their_reason(service: Service, radiographs: list[bytes]) -> None:
    bodies = {
        "not_dicom": (415, b"garbage" * 1000),
        "too_large": (413, b"\0" * (1 << 20) + b"\0"),
        "no_pixels": (422, without_pixels(radiographs[0])),
    }
    for reason, (status, body) in bodies.items():
        reply = httpx.post(f"{service.url}/v1/region", content=body, timeout=60)
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["reason"] == reason
        assert reply.json()["status"] == status
    assert httpx.post(f"{service.url}/v1/region", content=b"", timeout=60).status_code == 415


def test_a_body_without_stated_length_is_cut_off(service: Service) -> None:
    parts = (b"\0" * 65536 for _ in range(64))
    reply = httpx.post(f"{service.url}/v1/region", content=parts, timeout=60)
    assert reply.status_code == 413
    assert reply.json()["reason"] == "too_large"


def test_regions_health_and_openapi_answer(service: Service) -> None:
    regions = httpx.get(f"{service.url}/v1/regions", timeout=60).json()
    assert [row["region"] for row in regions] == list(service.bundle.regions.names)
    assert httpx.get(f"{service.url}/healthz", timeout=60).json() == {"status": "ok", "bundle": service.bundle.digest}
    paths = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["paths"]
    assert httpx.get(f"{service.url}/readyz", timeout=60).json()["status"] == "ready"
    assert "application/problem+json" in paths["/v1/region"]["post"]["responses"]["422"]["content"]


def test_the_review_page_stands_under_a_path_and_writes_verdicts(service: Service) -> None:
    url = service.url + "/review"
    page = httpx.get(url, follow_redirects=True, timeout=60)
    assert str(page.url) == url + "/"
    assert "radray review" in page.text and "unsafe" not in page.headers["content-security-policy"]
    assert httpx.get(url + "/review.js", timeout=60).headers["content-type"].startswith("text/javascript")
    assert httpx.get(url + "/queue", timeout=60).status_code == 403
    by = {"X-Radray-Token": service.tokens["Ann"]}
    queue = httpx.get(url + "/queue", headers=by, timeout=60).json()
    assert queue["reviewer"] == "Ann"
    assert httpx.get(f"{url}/picture/{queue['items'][0]['picture']}", headers=by, timeout=60).content[:4] == b"\x89PNG"
    given = {"id": "0" * 32, "item": queue["items"][0]["id"], "verdict": "confirm"}
    assert httpx.post(url + "/verdicts", headers=by, json=given, timeout=60).json() == {"others": []}
    (line,) = parse_verdicts(storage.read_bytes(storage.join(service.findings, "verdicts.csv")), "file")
    assert (line.reviewer, line.verdict) == ("Ann", "confirm")
    assert httpx.post(url + "/verdicts", headers=by, content=b" " * 20_000, timeout=60).status_code == 413


def identities_in(bodies: list[bytes]) -> set[str]:
    """What names a patient or an object in the headers."""
    names = ("PatientName", "PatientID", "AccessionNumber", "SOPInstanceUID", "StudyInstanceUID")
    headers = [pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True) for body in bodies]
    return {str(header.get(name, "")) for header in headers for name in names} - {""}


def test_no_identity_enters_the_logs(service: Service, radiographs: list[bytes]) -> None:
    import ray

    identities = identities_in(radiographs)
    assert len(identities) > len(radiographs)
    for body in radiographs:
        httpx.post(f"{service.url}/v1/region", content=body, timeout=60)
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())
    logs = [path.read_text(errors="replace") for path in (folder / "serve").glob("*.log")]
    assert any("/v1/region" in log for log in logs), "the access log is looked at"
    for identity in identities:
        assert not any(identity in log for log in logs)


def test_stow_and_pictures_pass_through_ray(service: Service, radiographs: list[bytes]) -> None:
    body, headers = multipart(radiographs)
    stored = httpx.post(f"{service.url}/v1/studies", content=body, headers=headers, timeout=60)
    assert stored.status_code in (200, 202)
    assert len(stored.json()["00081199"]["Value"]) >= 8
    asked = {"X-Request-ID": "night-7"}
    drawn = httpx.post(f"{service.url}/v1/region?pictures=true", content=radiographs[0], headers=asked, timeout=60)
    assert drawn.json()["heat_map"].startswith("data:image/png")
    assert drawn.headers["x-request-id"] == "night-7"
    problem = httpx.post(f"{service.url}/v1/region", content=b"no object", timeout=60)
    assert problem.json()["request_id"] == problem.headers["x-request-id"]


def read_metrics() -> list[tuple[str, dict[str, str], float]]:
    """Names, labels and values of ours at the Prometheus endpoint of each node."""
    import ray

    found = []
    for node in ray.nodes():
        text = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=30).text
        for family in text_string_to_metric_families(text):
            found += [(each.name, each.labels, each.value) for each in family.samples if "radray_" in each.name]
    return found


def test_prometheus_is_told_rates_latencies_batches_regions_and_no_identity(
    service: Service, radiographs: list[bytes]
) -> None:
    answers = [httpx.post(f"{service.url}/v1/region", content=body, timeout=60).json() for body in radiographs]
    regions = {answer["region"] for answer in answers if "region" in answer}
    assert httpx.post(f"{service.url}/v1/region", content=b"no object", timeout=60).status_code == 415
    assert httpx.get(f"{service.url}/v1/nothing/Miller", timeout=60).status_code == 404

    def labels_of(name: str, **given: str) -> list[dict[str, str]]:
        return [each for found, each, value in told if found == name and value > 0 and given.items() <= each.items()]

    def find_missing() -> list[str]:
        requests, post = "ray_radray_requests_total", {"path": "/v1/region", "method": "POST"}
        expected = {
            "answered": labels_of(requests, **post, status="200"),
            "refused": labels_of(requests, **post, status="415"),
            "unknown path": labels_of(requests, path="other", method="GET", status="404"),
            "latency": labels_of("ray_radray_request_seconds_bucket", path="/v1/region", le="+Inf"),
            "ensemble": labels_of("ray_radray_ensemble_seconds_count"),
            "batches": labels_of("ray_radray_batch_images_count"),
            "regions": {each["region"] for each in labels_of("ray_radray_regions_total")} == regions,
            "confidence": {each["region"] for each in labels_of("ray_radray_confidence_bucket", le="1.0")} == regions,
            "out of domain": labels_of("ray_radray_ood_score_count"),
            "reasons": labels_of("ray_radray_refused_objects_total", reason="not_dicom"),
        }
        return [name for name, is_told in expected.items() if not is_told]

    until = time.monotonic() + 60  # each replica tells its node every ten seconds what it counted
    told = read_metrics()
    while missing := find_missing():
        assert time.monotonic() < until, (missing, told)
        time.sleep(0.5)
        told = read_metrics()
    for identity in {*identities_in(radiographs), "Miller"}:
        assert not any(identity in value for _, labels, _ in told for value in labels.values())


def test_the_environment_names_the_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RADRAY_BUNDLE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="RADRAY_BUNDLE .*nothing is there"):
        Settings().check()
    monkeypatch.delenv("RADRAY_BUNDLE")
    with pytest.raises(ConfigError, match="set RADRAY_BUNDLE"):
        Settings().check()


def test_a_review_without_reviewers_is_refused(tmp_path: Path) -> None:
    findings = write_small_queue(tmp_path, suspects=2, controls=1)
    settings = Settings(bundle=str(tmp_path), findings=findings)
    with pytest.raises(ConfigError, match="reviewers.csv is missing; name reviewers"):
        settings.check()
    add_reviewers(storage.join(findings, "reviewers.csv"), ["Ann"])
    settings.check()


def test_the_deployment_file_is_what_serve_and_the_settings_take() -> None:
    from ray.serve.schema import ServeDeploySchema

    document = yaml.safe_load((CHECKOUT / "serve" / "config.yaml").read_text())
    schema = ServeDeploySchema.model_validate(document)
    assert schema.applications[0].import_path == "serve.app:app"
    assert Settings.model_validate(schema.applications[0].args).bundle.startswith("s3://")
