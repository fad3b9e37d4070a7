"""Two bundles answer in turn, as in the midst of a roll-out: whatever is asked, no answer mixes them."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import httpx
import pydicom
import pytest

from radray.images.prepare import prepare_image
from serve.answers import EnsembleAnswer
from serve.bundles import TRIES, Model
from tests.serve.local import LocalEnsemble, LocalService, multipart


class Alternating:
    """Ensemble replicas of two bundles behind one handle, each asked in its turn; `order` says whose turn it is."""

    def __init__(self, *replicas: LocalEnsemble, order: str = "01") -> None:
        self.replicas, self.order, self.asked = replicas, order, 0

    def _next(self) -> LocalEnsemble:
        self.asked += 1
        return self.replicas[int(self.order[self.asked % len(self.order)])]

    async def model(self) -> Model:
        return await self._next().model()

    async def predict(self, images: dict[str, bytes]) -> EnsembleAnswer | Model:
        return await self._next().predict(images)

    async def explain(self, bundle: str, image: bytes, region: str) -> bytes | Model | None:
        return await self._next().explain(bundle, image, region)


@pytest.fixture
def alone(saved_bundle, next_bundle):
    """A service of each bundle alone, by digest."""
    return {bundle.digest: LocalService(bundle, folder) for bundle, folder in (saved_bundle, next_bundle)}


@pytest.fixture
def usable(radiographs, saved_bundle, next_bundle):
    cleanings = [bundle.cleaning for bundle, _ in (saved_bundle, next_bundle)]
    return [body for body in radiographs if all(prepare_image(body, each)["status"] == "ok" for each in cleanings)]


def mixed(alone: dict[str, LocalService], first: int, order: str) -> tuple[LocalService, Alternating]:
    """A service whose ingress holds one bundle, while replicas of both answer."""
    services = list(alone.values())
    chosen = services[first]
    service = LocalService(chosen.bundle, chosen.settings.bundle)
    service.ensemble = Alternating(*(each.ensemble for each in services), order=order)
    service.ensemble.described = chosen.ensemble.described
    return service, service.ensemble


def send_all(service: LocalService, url: str, bodies: list[bytes], **given: Any) -> list[httpx.Response]:
    """Requests to one replica of the ingress, some at once."""

    async def ask() -> list[httpx.Response]:
        async with service.client() as client:
            return await asyncio.gather(*(client.post(url, content=body, **given) for body in bodies))

    return asyncio.run(ask())


@pytest.mark.parametrize(("first", "order"), [(0, "01"), (1, "00110")])
def test_every_answer_is_that_of_one_bundle(alone, usable, first, order):
    url = "/v1/region?pictures=true"
    expected = {digest: [reply.json() for reply in send_all(service, url, usable)] for digest, service in alone.items()}
    assert any(answer["inverted"] for answers in expected.values() for answer in answers)
    service, ensemble = mixed(alone, first, order)
    seen = set()
    for place, reply in enumerate(send_all(service, url, usable)):
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        right = expected[answer["bundle"]][place]
        assert answer.pop("probabilities") == pytest.approx(right["probabilities"], abs=1e-5)
        for name in ("region", "code", "inverted", "header_label", "agrees", "picture"):
            assert answer[name] == right[name], name
        assert answer["heat_map"].startswith("data:image/png")
        seen.add(answer["bundle"])
    assert seen <= set(alone) and ensemble.asked > len(usable)


def test_stow_and_reports_name_the_region_with_the_classes_of_the_bundle_that_answers(alone, usable):
    service, _ = mixed(alone, 0, "1")  # the ingress holds the old bundle, no replica does
    new = list(alone.values())[1]
    body, headers = multipart(usable)
    stored = service.send("POST", "/v1/studies", content=body, headers=headers)
    assert stored.status_code == 200, stored.text
    items = stored.json()["00081199"]["Value"]
    for item, answer in zip(items, send_all(new, "/v1/region", usable), strict=True):
        assert item["00771006"]["Value"] == [new.bundle.digest]
        assert item["00771001"]["Value"] == [answer.json()["region"]]
        assert item["00082218"]["Value"][0]["00080100"]["Value"] == [answer.json()["code"]]
    report = service.send("POST", "/v1/region", content=usable[0], headers={"Accept": "application/dicom"})
    assert items[0]["00082218"]["Value"][0]["00080100"]["Value"][0] in str(pydicom.dcmread(io.BytesIO(report.content)))
    assert service.send("GET", "/v1/model").json()["bundle"] == new.bundle.digest


def test_bundles_that_change_for_ever_are_not_waited_for(alone, usable):
    service, ensemble = mixed(alone, 0, "0")
    old, new = (each.ensemble for each in alone.values())

    class Restless:
        """Answers each time with a bundle that was not asked for."""

        async def predict(self, images: dict[str, bytes]) -> Model:
            ensemble.asked += 1
            model = (new if old.bundle.digest in images else old).described
            return Model(**{**vars(model), "digest": f"{ensemble.asked:064x}"})

    service.ensemble = Restless()
    service.ensemble.described = old.described
    reply = service.send("POST", "/v1/region", content=usable[0])
    assert (reply.status_code, reply.json()["reason"], reply.headers["retry-after"]) == (503, "busy", "2")
    assert ensemble.asked == TRIES
