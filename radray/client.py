"""A small client of the Serve application (README, Serve).

client = Client("https://radray.hospital.local", key="…")
client.region("image.dcm")["region"]

`AsyncClient` has the same methods as coroutines. Busy answers (429, 503) are waited out as Retry-After says.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from radray.errors import RadrayError

Asked = dict[str, Any]
"""Arguments of one `httpx` request."""
Source = str | Path | bytes
"""A file's path, or its bytes."""
_BUSY = frozenset({429, 503})
_TRIES = 5
_LONGEST_WAIT_S = 30.0
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class ServiceError(RadrayError):
    """The service refused a request, or could not be reached.

    Args:
        status: HTTP status, 0 where there was no answer.
        reason: From the service's closed lists.
        detail: For people.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status, self.reason, self.detail = status, reason, detail


class Client:
    """Asks one service; every method raises `ServiceError` where it is refused.

    Args:
        url: Of the service.
        key: Bearer key; None where the service has none.
        timeout_s: Longest wait for an answer, in seconds.
        verify: An `ssl.SSLContext` for a certificate that is not publicly signed.
        transport: Of httpx, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=_headers(key), timeout=timeout_s, verify=verify, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def region(self, source: Source, *, pictures: bool = False) -> dict[str, Any]:
        """The answer to one DICOM object, PNG or JPEG file."""
        found: dict[str, Any] = (self._ask(_region(source, pictures))).json()
        return found

    def report(self, source: Source) -> bytes:
        """The structured report (TID 1500) about one DICOM object, as a DICOM file."""
        return (self._ask(_report(source))).content

    def store(self, sources: Sequence[Source]) -> dict[str, Any]:
        """STOW-RS of several objects: the DICOM JSON document of the answer, also where some failed."""
        found: dict[str, Any] = (self._ask(_store(sources))).json()
        return found

    def regions(self) -> list[dict[str, Any]]:
        """The regions that the service tells apart."""
        found: list[dict[str, Any]] = (self._ask(_get("/v1/regions"))).json()
        return found

    def model(self) -> dict[str, Any]:
        """The bundle that answers, with its card."""
        found: dict[str, Any] = (self._ask(_get("/v1/model"))).json()
        return found

    def relabel(self, archive: str, output: str, **options: Any) -> dict[str, Any]:
        """Start a job over an archive; options are `labels`, `key`, `max_workers`."""
        found: dict[str, Any] = (self._ask(_relabel(archive, output, options))).json()
        return found

    def relabels(self) -> list[dict[str, Any]]:
        """All jobs, the newest first."""
        found: list[dict[str, Any]] = (self._ask(_get("/v1/relabels"))).json()
        return found

    def progress(self, job: str) -> dict[str, Any]:
        """One job as it is."""
        found: dict[str, Any] = (self._ask(_get(f"/v1/relabels/{job}"))).json()
        return found

    def stop(self, job: str) -> dict[str, Any]:
        """Stop a job; what it has written stays."""
        found: dict[str, Any] = (self._ask({"method": "DELETE", "url": f"/v1/relabels/{job}"})).json()
        return found

    def _ask(self, asked: Asked) -> httpx.Response:
        for tries_left in reversed(range(_TRIES)):
            try:
                answer = self._http.request(**asked)
            except httpx.TransportError as error:
                raise ServiceError(0, "unreachable", type(error).__name__) from error
            if answer.status_code not in _BUSY or not tries_left:
                break
            time.sleep(_wait_s(answer))
        return _checked(answer)


class AsyncClient:
    """The same as coroutines."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout_s, verify=verify, transport=transport
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def region(self, source: Source, *, pictures: bool = False) -> dict[str, Any]:
        """The answer to one DICOM object, PNG or JPEG file."""
        found: dict[str, Any] = (await self._ask(_region(source, pictures))).json()
        return found

    async def report(self, source: Source) -> bytes:
        """The structured report (TID 1500) about one DICOM object, as a DICOM file."""
        return (await self._ask(_report(source))).content

    async def store(self, sources: Sequence[Source]) -> dict[str, Any]:
        """STOW-RS of several objects: the DICOM JSON document of the answer, also where some failed."""
        found: dict[str, Any] = (await self._ask(_store(sources))).json()
        return found

    async def regions(self) -> list[dict[str, Any]]:
        """The regions that the service tells apart."""
        found: list[dict[str, Any]] = (await self._ask(_get("/v1/regions"))).json()
        return found

    async def model(self) -> dict[str, Any]:
        """The bundle that answers, with its card."""
        found: dict[str, Any] = (await self._ask(_get("/v1/model"))).json()
        return found

    async def relabel(self, archive: str, output: str, **options: Any) -> dict[str, Any]:
        """Start a job over an archive; options are `labels`, `key`, `max_workers`."""
        found: dict[str, Any] = (await self._ask(_relabel(archive, output, options))).json()
        return found

    async def relabels(self) -> list[dict[str, Any]]:
        """All jobs, the newest first."""
        found: list[dict[str, Any]] = (await self._ask(_get("/v1/relabels"))).json()
        return found

    async def progress(self, job: str) -> dict[str, Any]:
        """One job as it is."""
        found: dict[str, Any] = (await self._ask(_get(f"/v1/relabels/{job}"))).json()
        return found

    async def stop(self, job: str) -> dict[str, Any]:
        """Stop a job; what it has written stays."""
        found: dict[str, Any] = (await self._ask({"method": "DELETE", "url": f"/v1/relabels/{job}"})).json()
        return found

    async def _ask(self, asked: Asked) -> httpx.Response:
        for tries_left in reversed(range(_TRIES)):
            try:
                answer = await self._http.request(**asked)
            except httpx.TransportError as error:
                raise ServiceError(0, "unreachable", type(error).__name__) from error
            if answer.status_code not in _BUSY or not tries_left:
                break
            await asyncio.sleep(_wait_s(answer))
        return _checked(answer)


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _get(path: str) -> Asked:
    return {"method": "GET", "url": path}


def _region(source: Source, pictures: bool) -> Asked:
    body = _read(source)
    kind = next((kind for start, kind in _KINDS.items() if body.startswith(start)), "application/dicom")
    params = {"pictures": "true"} if pictures else {}
    headers = {"Content-Type": kind, "Accept": "application/json"}
    return {"method": "POST", "url": "/v1/region", "params": params, "headers": headers, "content": body}


def _report(source: Source) -> Asked:
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom"}
    return {"method": "POST", "url": "/v1/region", "headers": headers, "content": _read(source)}


def _store(sources: Sequence[Source]) -> Asked:
    boundary = f"radray-{secrets.token_hex(16)}"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    content = b"".join(head + _read(each) + b"\r\n" for each in sources) + f"--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    return {"method": "POST", "url": "/v1/studies", "headers": headers, "content": content}


def _relabel(archive: str, output: str, options: dict[str, Any]) -> Asked:
    return {"method": "POST", "url": "/v1/relabels", "json": {"archive": archive, "output": output, **options}}


def _read(source: Source) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _wait_s(answer: httpx.Response) -> float:
    stated = answer.headers.get("Retry-After", "")
    return min(float(stated) if stated.isdigit() else 1.0, _LONGEST_WAIT_S)


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, where it is one: a STOW document that says which objects failed is."""
    if answer.is_success or "dicom+json" in answer.headers.get("Content-Type", ""):
        return answer
    try:
        problem = answer.json()
        reason, detail = str(problem["reason"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        reason, detail = "unknown", "an answer that is no problem document; is this the service?"
    raise ServiceError(answer.status_code, reason, detail)
