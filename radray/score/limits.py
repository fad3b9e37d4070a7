"""Limits that keep an archive alive, held by all workers of a run together: requests and bytes a second, hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray

from radray import cluster
from radray.archive.pace import Allowance, keep_pace
from radray.score.config import ScoreConfig
from radray.score.hours import Hours

_SharedAllowance = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Allowance)


class Limited:
    """A transform that keeps to the limits: each block waits for the hours, each read for its turn.

    Args:
        transform: Constructed with `arguments`, called with a table.
        arguments: Keyword arguments of its constructor.
        hours: When blocks may begin; None for always.
        allowance: Actor that all workers ask for their turns; None for as fast as can be.
    """

    def __init__(
        self, *, transform: Callable[..., Any], arguments: dict[str, Any], hours: Hours | None, allowance: Any
    ) -> None:
        keep_pace(None if allowance is None else _AskedFor(allowance))
        self._hours = hours
        self._transform = transform(**arguments)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The transform's rows."""
        self.wait()
        return self._transform(rows)

    def wait(self) -> None:
        """Return within the hours."""
        if self._hours is not None:
            self._hours.wait()

    def give_up(self, rows: pa.Table) -> pa.Table:
        """The transform's rows for objects that kill the process."""
        return self._transform.give_up(rows)


def share_allowance(config: ScoreConfig) -> Any:
    """The actor that gives the workers of a run their turns; None where there is no limit."""
    if config.max_requests_per_s is None and config.max_bytes_per_s is None:
        return None
    cluster.connect()
    return _SharedAllowance.remote(requests_per_s=config.max_requests_per_s, bytes_per_s=config.max_bytes_per_s)


@contextmanager
def paced_listing(config: ScoreConfig) -> Iterator[None]:
    """Keep to the limit of requests in this process, which lists while no worker reads."""
    limit = config.max_requests_per_s
    keep_pace(None if limit is None else Allowance(requests_per_s=limit))
    try:
        yield
    finally:
        keep_pace(None)


class _AskedFor:
    """The actor's allowance, seen from a worker."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def reserve(self, requests: int, size: int) -> float:
        return float(ray.get(self._actor.reserve.remote(requests, size)))

    def settle(self, size: int) -> None:
        self._actor.settle.remote(size)
