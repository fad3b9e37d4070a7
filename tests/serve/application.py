"""The Serve application on the test cluster, and a load of requests to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from serve.settings import Settings


def deploy(folder: str, **settings: Any) -> None:
    """What `serve deploy` does: the application as it shall be; returns once it is so."""
    from ray import serve

    from serve.app import app

    given = {"bundle": folder, "max_body_mib": 1, "ensemble_cpus": 0.2, "ingress_cpus": 0.2, "max_replicas": 1}
    serve.run(app(Settings(**given | settings)), name="radray", route_prefix="/")


@contextmanager
def running(folder: str, **settings: Any) -> Iterator[str]:
    """The application's URL while it runs."""
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        deploy(folder, **settings)
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()


def kill_replica(deployment: str) -> None:
    """Kill the one replica of a deployment, as the loss of its machine would."""
    import ray

    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    (name,) = [each for each in names if f"radray#{deployment}#" in each]
    ray.kill(ray.get_actor(name, namespace="serve"))


@dataclass
class Load:
    """Requests at once without a pause, until it is stopped."""

    url: str
    bodies: list[bytes]
    at_once: int = 4
    asked: int = 0
    replies: list[tuple[int, httpx.Response | None]] = field(default_factory=list)
    """Which body, and the reply; None where the connection broke."""

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.at_once)
        self._workers = [self._pool.submit(self._ask, first) for first in range(self.at_once)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.result()
        self._pool.shutdown()

    def wait_for(self, replies: int) -> None:
        """Wait for so many more replies."""
        until = len(self.replies) + replies
        while len(self.replies) < until:
            assert not any(worker.done() for worker in self._workers)
            threading.Event().wait(0.02)

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                place = number % len(self.bodies)
                try:
                    reply = client.post(f"{self.url}/v1/region", content=self.bodies[place])
                except httpx.TransportError:
                    reply = None
                self.replies.append((place, reply))
                number += self.at_once
