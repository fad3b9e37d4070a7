"""The client against the API itself: sync, async, reports, STOW, refusals, and a service that is busy."""

from __future__ import annotations

import asyncio
import io

import cv2
import httpx
import numpy as np
import pydicom
import pytest

from radray import client as client_module
from radray.client import AsyncClient, Client, ServiceError
from serve.keys import NewKeyConfig, add_key
from tests.serve.local import LocalService, listening


def test_both_clients_get_what_the_service_answers(saved_bundle, radiographs, tmp_path):
    bundle, folder = saved_bundle
    url = str(tmp_path / "keys.csv")
    key = add_key(NewKeyConfig(keys=url, name="tests"))
    file = tmp_path / "image.dcm"
    file.write_bytes(radiographs[0])
    picture = cv2.imencode(".png", np.tile(np.arange(200, dtype=np.uint8), (200, 1)))[1].tobytes()

    async def ask(address: str) -> dict:
        async with AsyncClient(address, key=key) as client:
            answers = await asyncio.gather(*(client.region(body) for body in radiographs[:3]))
            assert (await client.model())["bundle"] == bundle.digest
            return answers[0]

    with listening(LocalService(bundle, folder, api_keys=url)) as address, Client(address, key=key) as client:
        answer = client.region(file)
        assert answer["region"] in {each["region"] for each in client.regions()}
        assert asyncio.run(ask(address)) == answer
        assert client.region(picture, pictures=True)["picture"].startswith("data:image/png")
        assert pydicom.dcmread(io.BytesIO(client.report(radiographs[0]))).Modality == "SR"
        stored = client.store([file, radiographs[1], b"nothing"])
        assert len(stored["00081199"]["Value"]) == 2 and len(stored["0008119A"]["Value"]) == 1
        assert "0008119A" in client.store([b"nothing"])
        with pytest.raises(ServiceError, match="415 not_dicom") as refused:
            client.region(b"nothing")
        assert (refused.value.status, refused.value.reason) == (415, "not_dicom")
        with pytest.raises(ServiceError, match="403 forbidden"):
            client.relabels()
        with Client(address) as stranger, pytest.raises(ServiceError, match="401 unauthorised"):
            stranger.regions()


def test_a_busy_service_is_asked_again_as_it_says(monkeypatch):
    waits, answers = [], [httpx.Response(503, headers={"Retry-After": "2"}), httpx.Response(429)]
    monkeypatch.setattr(client_module.time, "sleep", waits.append)

    def reply(request: httpx.Request) -> httpx.Response:
        return answers.pop(0) if answers else httpx.Response(200, json=[])

    with Client("http://radray", transport=httpx.MockTransport(reply)) as client:
        assert client.regions() == []
        assert waits == [2.0, 1.0]
        answers.extend(httpx.Response(503, json={"reason": "busy", "detail": "full"}) for _ in range(9))
        with pytest.raises(ServiceError, match="503 busy: full"):
            client.regions()


def test_no_service_and_another_server_are_told_apart():
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="0 unreachable: ConnectError"):
        client.regions()
    other = httpx.MockTransport(lambda request: httpx.Response(404, text="<html>"))
    with Client("http://radray", transport=other) as client, pytest.raises(ServiceError, match="is this the service"):
        client.regions()
