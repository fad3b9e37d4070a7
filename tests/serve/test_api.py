"""Bodies of every kind to answers: DICOM, pictures, multipart, STOW-RS, structured reports, and what is refused."""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
import pydicom
import pytest

from radray.images.prepare import prepare_image, prepare_picture
from serve.dicom_json import FAILURES
from tests.serve.local import SIDE, LocalService, multipart


def usable(local: LocalService, bodies: list[bytes]) -> list[bytes]:
    return [body for body in bodies if prepare_image(body, local.bundle.cleaning)["status"] == "ok"]


def probabilities(local: LocalService, answer: dict) -> list[float]:
    return [answer["probabilities"][name] for name in local.bundle.regions.names]


def predicted(local: LocalService, image: bytes) -> np.ndarray:
    pixels = np.frombuffer(image, np.uint8).reshape(1, SIDE, SIDE)
    return local.bundle.predict(pixels).probabilities[0]


def test_a_body_and_a_form_have_the_answer_of_the_bundle(local, radiographs):
    body = usable(local, radiographs)[0]
    expected = predicted(local, prepare_image(body, local.bundle.cleaning)["image"])
    plain = local.send("POST", "/v1/region", content=body, headers={"Content-Type": "application/dicom"})
    form = local.send("POST", "/v1/region", files={"file": ("a.dcm", body, "application/dicom")})
    assert plain.status_code == form.status_code == 200, (plain.text, form.text)
    np.testing.assert_allclose(probabilities(local, plain.json()), expected, atol=1e-5)
    assert form.json() == plain.json()
    assert plain.json()["picture"] is None
    assert plain.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in plain.headers if name.startswith("access-control")]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("shape", [(200, 160), (200, 160, 3)])
def test_pictures_have_the_answer_of_the_bundle(local, suffix, shape):
    grey = np.fromfunction(lambda y, x: 255 * np.exp(-((y - 100) ** 2 + (x - 80) ** 2) / 3000), shape[:2])
    picture = np.broadcast_to(grey.astype(np.uint8)[..., None], (*shape[:2], 3)) if len(shape) == 3 else grey
    body = cv2.imencode(suffix, picture.astype(np.uint8))[1].tobytes()
    kind = {".png": "image/png", ".jpg": "image/jpeg"}[suffix]
    reply = local.send("POST", "/v1/region?pictures=true", content=body, headers={"Content-Type": kind})
    assert reply.status_code == 200, reply.text
    expected = predicted(local, prepare_picture(body, local.bundle.cleaning)["image"])
    np.testing.assert_allclose(probabilities(local, reply.json()), expected, atol=1e-5)
    assert reply.json()["header_label"] is None
    assert reply.json()["picture"].startswith("data:image/png;base64,")
    assert reply.json()["heat_map"].startswith("data:image/png;base64,")


def test_sixteen_bit_and_transparent_pictures_are_read(local):
    ramp = np.tile(np.linspace(0, 60_000, 128, dtype=np.uint16), (128, 1))
    clear = np.dstack([np.tile(np.arange(128, dtype=np.uint8), (128, 1))] * 4)
    for picture in (ramp, clear):
        body = cv2.imencode(".png", picture)[1].tobytes()
        reply = local.send("POST", "/v1/region", content=body, headers={"Content-Type": "image/png"})
        assert reply.status_code == 200, reply.text


def test_a_picture_of_too_many_pixels_is_refused_by_its_head(saved_bundle):
    bundle, folder = saved_bundle
    small = LocalService(bundle, folder, max_pixels=10_000)
    body = cv2.imencode(".png", np.zeros((200, 200), np.uint8))[1].tobytes()
    reply = small.send("POST", "/v1/region", content=body[:40], headers={"Content-Type": "image/png"})
    assert (reply.status_code, reply.json()["reason"]) == (413, "too_large")


def test_the_structured_report_names_the_region_and_the_patient_of_the_object(local, radiographs):
    body = usable(local, radiographs)[0]
    reply = local.send("POST", "/v1/region", content=body, headers={"Accept": "application/dicom"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/dicom"
    report, source = pydicom.dcmread(io.BytesIO(reply.content)), pydicom.dcmread(io.BytesIO(body))
    assert report.Modality == "SR" and report.PatientID == source.PatientID
    answer = local.send("POST", "/v1/region", content=body).json()
    assert answer["code"] in str(report)
    picture = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
    headers = {"Accept": "application/dicom", "Content-Type": "image/png"}
    refused = local.send("POST", "/v1/region", content=picture, headers=headers)
    assert (refused.status_code, refused.json()["reason"]) == (406, "not_acceptable")


def test_stow_answers_each_instance(local, radiographs):
    good = usable(local, radiographs)[:5]
    body, headers = multipart([*good, b"no object at all"])
    reply = local.send("POST", "/v1/studies", content=body, headers=headers)
    assert reply.status_code == 202, reply.text
    assert reply.headers["content-type"] == "application/dicom+json"
    document = reply.json()
    used = document["00081199"]["Value"]
    assert len(used) == len(good) and len(document["0008119A"]["Value"]) == 1
    assert document["0008119A"]["Value"][0]["00081197"]["Value"] == [0xC000]
    for item, each in zip(used, good, strict=True):
        assert item["00081155"]["Value"] == [pydicom.dcmread(io.BytesIO(each)).SOPInstanceUID]
        alone = local.send("POST", "/v1/region", content=each).json()
        assert item["00771001"]["Value"] == [alone["region"]]
        assert item["00082218"]["Value"][0]["00080100"]["Value"] == [alone["code"]]
        assert item["00771002"]["Value"][0] == pytest.approx(alone["confidence"], abs=1e-5)
    read = pydicom.Dataset.from_json(document)
    assert len(read.ReferencedSOPSequence) == len(good)
    assert local.send("POST", "/v1/studies", content=multipart(good)[0], headers=headers).status_code == 200
    none = local.send("POST", "/v1/studies", content=multipart([b"nothing"])[0], headers=headers)
    assert none.status_code == 409 and "00081199" not in none.json()


def test_an_object_that_is_no_radiograph_fails_with_its_uid(local, radiographs):
    dataset = pydicom.dcmread(io.BytesIO(usable(local, radiographs)[0]))
    del dataset.PixelData
    dataset.save_as(file := io.BytesIO())
    body, headers = multipart([file.getvalue()])
    reply = local.send("POST", "/v1/studies", content=body, headers=headers)
    (item,) = reply.json()["00081198"]["Value"]
    assert item["00081155"]["Value"] == [dataset.SOPInstanceUID]
    assert item["00771010"]["Value"] == ["no_pixels"] and item["00081197"]["Value"] == [0x0122]
    assert all(0 < code <= 0xFFFF for code in FAILURES.values())


def refusals(radiograph: bytes) -> list[tuple[str, str, bytes, dict[str, str], int, str]]:
    form = {"Content-Type": "multipart/related; boundary=b0"}
    two, _ = multipart([radiograph, radiograph])
    xml, _ = multipart([b"<x/>"], kind="application/dicom+xml")
    big, _ = multipart([b"\0" * (1 << 20) + b"\0"])
    return [
        ("/v1/region", "text", b"x", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("/v1/region", "not an object", b"garbage" * 999, {}, 415, "not_dicom"),
        ("/v1/region", "not a picture", b"garbage", {"Content-Type": "image/png"}, 415, "unsupported_transfer_syntax"),
        ("/v1/region", "too large", b"\0" * (1 << 20) + b"\0", {}, 413, "too_large"),
        ("/v1/region", "two parts", two, form, 413, "too_many_parts"),
        ("/v1/region", "no value", radiograph, {"X-Request-ID": "Ann Miller"}, 400, "bad_request"),
        ("/v1/region?pictures=perhaps", "no boolean", radiograph, {}, 422, "invalid"),
        ("/v1/studies", "one object", radiograph, {"Content-Type": "application/dicom"}, 415, "unsupported_media_type"),
        ("/v1/studies", "no boundary", b"", {"Content-Type": "multipart/related"}, 400, "bad_multipart"),
        ("/v1/studies", "long boundary", b"", {"Content-Type": f"multipart/related; boundary={'b' * 201}"}, 400,
         "bad_multipart"),
        ("/v1/studies", "nothing", b"", form, 400, "bad_multipart"),
        ("/v1/studies", "no part", b"--b0--\r\n", form, 400, "bad_multipart"),
        ("/v1/studies", "cut off", two[:-10], form, 400, "bad_multipart"),
        ("/v1/studies", "other parts", xml, form, 415, "unsupported_media_type"),
        ("/v1/studies", "large part", big, form, 413, "too_large"),
        ("/v1/studies", "only XML", two, {**form, "Accept": "application/dicom+xml"}, 406, "not_acceptable"),
        ("/v1/nothing", "no route", b"", {}, 404, "not_found"),
        ("/v1/regions", "other method", b"", {}, 405, "method_not_allowed"),
    ]  # fmt: skip


def test_what_is_refused_has_its_reason(local, radiographs):
    for url, name, body, headers, status, reason in refusals(radiographs[0]):
        reply = local.send("POST", url, content=body, headers=headers)
        assert (reply.status_code, reply.json()["reason"]) == (status, reason), name
        assert reply.headers["content-type"] == "application/problem+json", name
        assert reply.json()["status"] == status


def test_too_many_parts_are_refused_before_the_rest_is_read(saved_bundle, radiographs):
    bundle, folder = saved_bundle
    few = LocalService(bundle, folder, max_parts=3)
    body, headers = multipart([radiographs[0]] * 5)
    reply = few.send("POST", "/v1/studies", content=body, headers=headers)
    assert (reply.status_code, reply.json()["reason"]) == (413, "too_many_parts")


def test_model_regions_and_health_answer(local):
    names = local.bundle.regions.names
    assert [row["region"] for row in local.send("GET", "/v1/regions").json()] == list(names)
    card = local.send("GET", "/v1/model").json()
    assert card["bundle"] == local.bundle.digest and "Not a medical device" in card["card"]
    assert {each["method"] for each in card["members"]} == {"simclr", "byol"}
    assert local.send("GET", "/healthz").json()["bundle"] == local.bundle.digest
    assert local.send("GET", "/readyz").json()["status"] == "ready"


def test_a_service_is_not_ready_without_its_ensemble(saved_bundle):
    local = LocalService(*saved_bundle, answer_s=0.1)
    local.ensemble.delay_s = 5
    reply = local.send("GET", "/readyz")
    assert (reply.status_code, reply.json()["reason"]) == (503, "busy")
    assert local.send("GET", "/v1/model").json()["bundle"] == local.bundle.digest


def test_the_openapi_names_every_problem_and_an_example(local):
    document = local.send("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            codes = {code for code in route["responses"] if int(code) >= 400}
            assert codes, (path, method)
            for code in codes - {"409"}:
                assert "application/problem+json" in route["responses"][code]["content"]
    assert document["components"]["schemas"]["RegionAnswer"]["examples"][0]["region"] == "knee"
    missing = set(re.findall(r"schemas/(\w+)", str(document))) - set(document["components"]["schemas"])
    assert not missing
