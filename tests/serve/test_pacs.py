"""A real PACS: Orthanc pushes by STOW-RS, its script writes labels to metadata; dicomweb-client reads the answer."""

from __future__ import annotations

import io
import time

import httpx
import pydicom
import pytest

from radray.images.prepare import prepare_image
from serve.keys import NewKeyConfig, add_key
from tests.conftest import CHECKOUT
from tests.orthanc import running_orthanc
from tests.serve.local import LocalService, listening

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
PUSHED = 200
METADATA = {"radray-region": 4711, "radray-confidence": 4712, "radray-bundle": 4713}


@pytest.fixture
def keyed(saved_bundle, tmp_path):
    """A service with keys, and one of them."""
    bundle, folder = saved_bundle
    url = str(tmp_path / "keys.csv")
    key = add_key(NewKeyConfig(keys=url, name="orthanc"))
    return LocalService(bundle, folder, api_keys=url, max_parts=PUSHED), key


def many(radiographs: list[bytes], service: LocalService, count: int) -> list[bytes]:
    """So many objects with UIDs of their own."""
    good = [body for body in radiographs if prepare_image(body, service.bundle.cleaning)["status"] == "ok"]
    made = []
    for number in range(count):
        dataset = pydicom.dcmread(io.BytesIO(good[number % len(good)]))
        dataset.SOPInstanceUID = f"2.25.77{number:04d}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(file := io.BytesIO())
        made.append(file.getvalue())
    return made


def test_orthanc_pushes_and_its_script_keeps_the_labels(keyed, radiographs, tmp_path, monkeypatch):
    service, key = keyed
    bodies = many(radiographs, service, PUSHED)
    with listening(service) as url:
        monkeypatch.setenv("RADRAY_URL", url)
        monkeypatch.setenv("RADRAY_KEY", key)
        web = {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {"radray": {"Url": f"{url}/v1/", "HttpHeaders": {"Authorization": f"Bearer {key}"}}},
        }
        script = str(CHECKOUT / "examples" / "orthanc.lua")
        with running_orthanc(tmp_path, LuaScripts=[script], UserMetadata=METADATA, DicomWeb=web) as pacs:
            for body in bodies:
                assert pacs.upload(body) == 200
            names = [pacs.find(f"2.25.77{number:04d}") for number in range(PUSHED)]
            labels = [wait_for(f"{pacs.url}/instances/{name}/metadata/radray-region") for name in names]
            direct = httpx.post(f"{url}/v1/region", content=bodies[3], headers={"Authorization": f"Bearer {key}"})
            assert labels[3].rstrip("?") == direct.json()["region"]
            assert set(label.rstrip("?") for label in labels) <= set(service.bundle.regions.names)
            digest = httpx.get(f"{pacs.url}/instances/{names[0]}/metadata/radray-bundle").text
            assert digest == service.bundle.digest
            asked = {"Resources": names, "Synchronous": True}
            pushed = httpx.post(f"{pacs.url}/dicom-web/servers/radray/stow", json=asked, timeout=200)
            assert pushed.status_code == 200, pushed.text


def wait_for(url: str) -> str:
    end = time.monotonic() + 60
    while (reply := httpx.get(url)).status_code != 200:
        assert time.monotonic() < end, "the script wrote no label"
        time.sleep(0.05)
    return reply.text


def test_dicomweb_client_stores_an_instance_and_reads_the_answer(keyed, radiographs):
    web = pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (make setup)")
    service, key = keyed
    (body,) = many(radiographs, service, 1)
    with listening(service) as url:
        client = web.DICOMwebClient(f"{url}/v1", headers={"Authorization": f"Bearer {key}"})
        answer = client.store_instances([pydicom.dcmread(io.BytesIO(body))])
    (item,) = answer.ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == "2.25.770000"
    assert item.AnatomicRegionSequence[0].CodingSchemeDesignator == "SCT"
    assert item[0x00771001].value in service.bundle.regions.names
