"""Who a request comes from, and how many requests may be under way."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from radray.errors import ConfigError
from serve.keys import Caller, KeyRing, Role
from serve.problems import REQUEST_ID, ApiError, ApiReason

LOCAL_PEERS = ("127.0.0.1", "::1")
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
HIDING_PROXIES = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_ENABLE_DIRECT_INGRESS", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
"""Modes of Serve in which a request may reach the replica from a proxy that does not say whom it stands for."""
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


async def check_origin(request: Request) -> None:
    """Refuse what a browser sends for another site's page, and request ids that logs should not hold.

    Raises:
        ApiError: FORBIDDEN or BAD_REQUEST.
    """
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.method != "GET":
        raise ApiError(ApiReason.FORBIDDEN, "asked by the page of another site")
    request_id = request.headers.get(REQUEST_ID)
    if request_id is not None and not _HARMLESS_ID.fullmatch(request_id):
        raise ApiError(ApiReason.BAD_REQUEST, "X-Request-ID has 1 to 64 letters, digits, dots, dashes, underscores")


def check_peers_are_known(keys: KeyRing) -> None:
    """Refuse to serve without keys where every request seems to come from this machine.

    Raises:
        ConfigError: It would be answered whoever asks.
    """
    hiding = [name for name in HIDING_PROXIES if os.environ.get(name) == "1"]
    if hiding and not len(keys):
        raise ConfigError(
            f"{hiding[0]} is set and no keys are: whoever asks would seem to be this machine; set RADRAY_API_KEYS "
            "(serve/keys.py)"
        )


def identify_caller(request: Request, keys: KeyRing, role: Role) -> Caller:
    """Who asks, by the key; without any key in the settings, whoever asks from this machine.

    Raises:
        ApiError: UNAUTHORISED or FORBIDDEN.
    """
    if not len(keys):
        if not _is_local(request):
            raise ApiError(
                ApiReason.FORBIDDEN, "without keys only this machine is answered; set RADRAY_API_KEYS (serve/keys.py)"
            )
        return Caller(name="local", roles=frozenset(Role))
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    caller = keys.identify(key.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise ApiError(ApiReason.UNAUTHORISED, "send a known key: Authorization: Bearer KEY")
    if role not in caller.roles:
        raise ApiError(ApiReason.FORBIDDEN, f"the key has not the role {role.value}")
    return caller


def _is_local(request: Request) -> bool:
    """From this machine, by a name of this machine (no page can rename it), through no proxy that says so."""
    host = request.headers.get("host", "").rsplit(":", 1)[0] if request.headers.get("host") else ""
    peer = request.client.host if request.client else ""
    passed_on = any(name in request.headers for name in FORWARDED)
    return peer in LOCAL_PEERS and (host in LOCAL_NAMES) and not passed_on


class Admission:
    """Bounds the requests under way in this replica: bodies in memory, and images that wait.

    Args:
        most: In all.
        most_each: Of one caller.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count a request while it is answered.

        Raises:
            ApiError: BUSY or TOO_MANY_REQUESTS, before anything of the body is read.
        """
        if self._under_way.total() >= self._most:
            raise ApiError(ApiReason.BUSY, f"{self._most} requests are under way")
        if self._under_way[caller.name] >= self._most_each:
            raise ApiError(ApiReason.TOO_MANY_REQUESTS, f"this key has {self._most_each} requests under way")
        self._under_way[caller.name] += 1
        try:
            yield
        finally:
            self._under_way[caller.name] -= 1
            if not self._under_way[caller.name]:
                del self._under_way[caller.name]
