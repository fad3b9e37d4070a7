"""The API in this process: the real bundle and decoder, without Ray in between."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import torch
import uvicorn

from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.ensemble.pose import POSES, Pose
from radray.pretrain.backbone import Backbone
from radray.regions import load_regions
from serve.access import Admission
from serve.answers import EnsembleAnswer
from serve.api import Desk, build_api
from serve.bundles import Model
from serve.ensemble import compute, describe_model, draw_reasons
from serve.keys import KeyRing, read_keys
from serve.metrics import Metrics
from serve.service import RegionService
from serve.settings import Settings

SIDE = 32


def random_member(method: str, seed: int, classes: int, side: int = SIDE) -> Member:
    torch.manual_seed(seed)
    backbone = Backbone("resnet10", side).eval()
    return Member(
        method=method,
        backbone=backbone,
        mean=torch.rand(backbone.dimension) * 0.05,
        scale=torch.rand(backbone.dimension) * 0.01 + 0.005,
        weight=torch.randn(classes, backbone.dimension) * 0.1,
        bias=torch.randn(classes),
        bank=torch.nn.functional.normalize(torch.randn(50, backbone.dimension), dim=1),
        distances=torch.linspace(0.5, 1.0, 20),
        temperature=1.3,
        own_head=False,
        share=0.5,
        run_digest=f"run{seed}",
    )


def save_bundle(folder: str) -> Bundle:
    """A bundle of two small random networks."""
    return _save(folder, "skeletal14", SIDE, [0, 1])


def save_next_bundle(folder: str) -> Bundle:
    """Another one: of more regions and larger images, and with a pose head that suspects inverted grey values."""
    return _save(folder, "skeletal22", 48, [2, 3], pose=True)


def _save(folder: str, name: str, side: int, seeds: list[int], *, pose: bool = False) -> Bundle:
    regions = load_regions(name)
    members = [
        random_member(method, seed, len(regions), side) for method, seed in zip(("simclr", "byol"), seeds, strict=True)
    ]
    torch.manual_seed(6)  # finds a few of the phantoms inverted, suspects others
    weight = torch.randn(POSES, members[0].backbone.dimension) * 0.1
    head = Pose(method="simclr", weight=weight, bias=torch.tensor([0.0, 0, 0, 0, 2.0]), temperature=1.0)
    bundle = Bundle(
        regions=regions,
        cleaning=CleaningConfig(side_px=side, working_px=4 * side),
        members=members,
        temperature=0.9,
        ood_reference=torch.linspace(0, 1, 30),
        confidence_thresholds=(0.2,) * len(regions),
        ood_threshold=0.99,
        pose=head if pose else None,
    )
    bundle.save(folder)
    return bundle


class LocalEnsemble:
    """Computes in a thread, as a replica does; `delay_s` makes it slow, `gate` holds it up."""

    def __init__(self, bundle: Bundle, folder: str) -> None:
        self.bundle, self.delay_s = bundle, 0.0
        self.gate: asyncio.Event | None = None
        self.described = describe_model(bundle, folder)

    async def model(self) -> Model:
        await asyncio.sleep(self.delay_s)
        return self.described

    async def predict(self, images: dict[str, bytes]) -> EnsembleAnswer | Model:
        await asyncio.sleep(self.delay_s)
        if self.gate is not None:
            await self.gate.wait()
        if self.bundle.digest not in images:
            return self.described
        return (await asyncio.to_thread(compute, self.bundle, [images[self.bundle.digest]]))[0]

    async def explain(self, bundle: str, image: bytes, region: str) -> bytes | Model | None:
        if bundle != self.bundle.digest:
            return self.described
        return await asyncio.to_thread(draw_reasons, self.bundle, image, region)


class LocalService:
    """One API with settings of its own."""

    def __init__(self, bundle: Bundle, folder: str, relabels: Any = None, **settings: Any) -> None:
        self.settings = Settings(bundle=folder, **settings)
        self.bundle, self.ensemble = bundle, LocalEnsemble(bundle, folder)
        self.desk: Desk | None = None
        self.relabels = relabels
        self.api = build_api(self.ask)

    def ask(self) -> Desk:
        """Built within the event loop, as a replica is."""
        if self.desk is None:
            service = RegionService(
                model=self.ensemble.described,
                ensemble=self.ensemble,
                limits=self.settings.pixel_limits,
                answer_s=self.settings.answer_s,
                metrics=Metrics(),
            )
            self.desk = Desk(
                service=service,
                keys=KeyRing(read_keys(self.settings.api_keys)),
                admission=Admission(self.settings.max_under_way, self.settings.max_under_way_each),
                body_limits=self.settings.body_limits,
                relabels=self.relabels,
                ask_review=None,
            )
        return self.desk

    def client(self, peer: str = "127.0.0.1", base_url: str = "http://localhost", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False, client=(peer, 40_000))
        return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers, timeout=60)

    def send(self, method: str, url: str, *, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
        """One request in an event loop of its own."""

        async def ask() -> httpx.Response:
            self.desk = None
            peer, base = given.pop("peer", "127.0.0.1"), given.pop("base_url", "http://localhost")
            async with self.client(peer, base) as client:
                return await client.request(method, url, headers=headers, **given)

        return asyncio.run(ask())


@contextmanager
def listening(service: LocalService) -> Iterator[str]:
    """The API on a port of loopback, for programs that speak HTTP; its URL."""
    service.desk = None
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(service.api, log_level="warning", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def multipart(
    bodies: list[bytes], boundary: str = "b0", kind: str = "application/dicom"
) -> tuple[bytes, dict[str, str]]:
    """A multipart/related body and its Content-Type."""
    head = f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
    body = b"".join(head + each + b"\r\n" for each in bodies) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
