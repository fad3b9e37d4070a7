"""Objects to a PACS by DICOMweb: STOW-RS, Store Instances (PS3.18 10.5).

| variable | meaning |
|---|---|
| `RADRAY_STOW_TOKEN` | bearer token |
| `RADRAY_STOW_USER`, `RADRAY_STOW_PASSWORD` | basic authentication, where there is no token |
| `RADRAY_STOW_CA_BUNDLE` | PEM file of the authority that signed the PACS's certificate |
"""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import httpx

from radray.errors import ConfigError, RadrayError

_CONNECT_S, _ANSWER_S = 5.0, 300.0
_PAUSES_S = (0.5, 2.0, 8.0)
"""Waits between the attempts, in seconds."""
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which another attempt may help."""
_REFUSED = (401, 403)
_USELESS = frozenset({*_REFUSED, 404, 405, 408, 429, 502, 503, 504})
"""Answers that are not about the objects."""
_STORED, _FAILED, _UID, _WHY = "00081199", "00081198", "00081155", "00081197"
"""ReferencedSOPSequence, FailedSOPSequence, ReferencedSOPInstanceUID, FailureReason (PS3.18 10.5.3)."""
_FAILURES = {
    0x0110: "processing failure",
    0x0111: "duplicate SOP Instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0131: "patient or study does not match",
    0xA700: "out of resources",
    0xA900: "data set does not match SOP class",
    0xC000: "cannot understand",
    0xC122: "transfer syntax not supported",
}


class PacsUnreachable(RadrayError):
    """The PACS gave no usable answer, however often it was asked."""


class StowClient:
    """Sends objects to one PACS.

    Args:
        url: Of its DICOMweb root, without `/studies`.

    Raises:
        ConfigError: The authority's file is missing.
    """

    def __init__(self, url: str) -> None:
        self._studies = studies_url(url)
        self._http = _client(_ANSWER_S)

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def store(self, bodies: Mapping[str, bytes]) -> dict[str, str | None]:
        """Send some objects in one request.

        Args:
            bodies: SOP Instance UID → DICOM file.

        Returns:
            SOP Instance UID → None where it was stored, else why not.

        Raises:
            PacsUnreachable: No answer, or one that says nothing about the objects, after the last attempt. What says
                that they were stored is a DICOM JSON or XML document that names them (PS3.18 10.5.3), nothing else.
        """
        boundary = f"radray-{secrets.token_hex(16)}"
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        content = b"".join(head + body + b"\r\n" for body in bodies.values()) + f"--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        for pause_s in (*_PAUSES_S, None):
            try:
                answer = self._http.post(self._studies, content=content, headers=headers)
            except httpx.TransportError as error:
                if pause_s is None:
                    raise PacsUnreachable(type(error).__name__) from error
            else:
                if pause_s is None or answer.status_code not in _AGAIN:
                    break
            time.sleep(pause_s)
        if answer.status_code in _USELESS or answer.is_redirect:
            raise PacsUnreachable(f"HTTP {answer.status_code}")
        outcomes = _outcomes(answer, list(bodies))
        if answer.is_success and set(outcomes.values()) == {_not_named(answer)}:
            raise PacsUnreachable(
                f"HTTP {answer.status_code} with {_content_type(answer)}, which names none of the objects sent; is "
                "--stow the root of its DICOMweb, and are the credentials set?"
            )
        return outcomes


def check_pacs(url: str) -> None:
    """Ask the PACS for any answer before any work.

    Raises:
        ConfigError: It does not answer within seconds, refuses the credentials, or answers a search as no PACS does:
            with a page to log in, or a redirection to one.
    """
    try:
        with _client(_CONNECT_S) as client:
            answer = client.get(studies_url(url), params={"limit": "1"}, headers={"Accept": "application/dicom+json"})
    except httpx.TransportError as error:
        raise ConfigError(f"--stow {url}: the PACS cannot be reached ({type(error).__name__})") from error
    if answer.status_code in _REFUSED:
        raise ConfigError(
            f"--stow {url}: the PACS refuses access (HTTP {answer.status_code}); set RADRAY_STOW_TOKEN, or "
            "RADRAY_STOW_USER and RADRAY_STOW_PASSWORD"
        )
    if answer.is_redirect or (answer.is_success and not _is_search_result(answer)):
        raise ConfigError(
            f"--stow {url}: no PACS answers there (HTTP {answer.status_code} with {_content_type(answer)}, where DICOM "
            "JSON belongs); set the root of its DICOMweb, and RADRAY_STOW_TOKEN where it asks to log in"
        )


def studies_url(url: str) -> str:
    """Where instances of any study are stored."""
    return url.rstrip("/").removesuffix("/studies") + "/studies"


def _client(timeout_s: float) -> httpx.Client:
    headers, auth = {}, None
    if token := os.environ.get("RADRAY_STOW_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    elif user := os.environ.get("RADRAY_STOW_USER"):
        auth = httpx.BasicAuth(user, os.environ.get("RADRAY_STOW_PASSWORD", ""))
    verify: ssl.SSLContext | bool = True
    if bundle := os.environ.get("RADRAY_STOW_CA_BUNDLE"):
        try:
            verify = ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise ConfigError(f"RADRAY_STOW_CA_BUNDLE is {bundle!r}: no PEM file is there") from error
    timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
    return httpx.Client(headers=headers, auth=auth, verify=verify, timeout=timeout)


def _outcomes(answer: httpx.Response, uids: list[str]) -> dict[str, str | None]:
    """What became of each object: stored or failed where the answer names it, else not stored."""
    document = _document(answer)
    stored = {_first(item, _UID) for item in _items(document, _STORED)}
    failed = {_first(item, _UID): _first(item, _WHY) for item in _items(document, _FAILED)}
    outcomes: dict[str, str | None] = {}
    for uid in uids:
        if uid in failed:
            outcomes[uid] = _failure(failed[uid])
        else:
            outcomes[uid] = None if uid in stored else _not_named(answer)
    return outcomes


def _not_named(answer: httpx.Response) -> str:
    return f"HTTP {answer.status_code}"


def _content_type(answer: httpx.Response) -> str:
    return answer.headers.get("content-type", "").split(";")[0].strip().lower() or "no content"


def _is_search_result(answer: httpx.Response) -> bool:
    """Whether a search (QIDO-RS, PS3.18 8.3.4 and 10.6.3) was answered: nothing found, a JSON array, or XML."""
    kind = _content_type(answer)
    if answer.status_code == 204 or kind == "multipart/related" or kind.endswith("dicom+xml"):
        return True
    return kind.endswith("json") and isinstance(_json(answer), list)


def _document(answer: httpx.Response) -> Any:
    """The data set of an answer in the DICOM JSON model (PS3.18 F.2), however it came; None where there is none."""
    kind = _content_type(answer)
    if kind.endswith("json"):
        found = _json(answer)
        return found[0] if isinstance(found, list) and found else found
    return _from_xml(answer) if kind.endswith("xml") else None


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _from_xml(answer: httpx.Response) -> Any:
    """Sequences and values of a Native DICOM Model (PS3.19 A.1); a document type may name entities without end."""
    if b"<!DOCTYPE" in answer.content:
        return None
    try:
        return _attributes(ElementTree.fromstring(answer.content))
    except ElementTree.ParseError:
        return None


def _attributes(parent: ElementTree.Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in parent.iterfind("{*}DicomAttribute"):
        items = [_attributes(item) for item in attribute.iterfind("{*}Item")]
        texts = [(each.text or "").strip() for each in attribute.iterfind("{*}Value")]
        values = [int(text) if attribute.get("vr") == "US" and text.isdigit() else text for text in texts]
        found[attribute.get("tag", "").upper()] = {"Value": [*items, *values]}
    return found


def _items(document: Any, tag: str) -> Iterator[Any]:
    """The items of a sequence; none where the document is another."""
    sequence = document.get(tag) if isinstance(document, dict) else None
    values = sequence.get("Value") if isinstance(sequence, dict) else None
    return iter(values if isinstance(values, list) else [])


def _first(item: Any, tag: str) -> Any:
    value = next(_items(item, tag), None)
    return value if isinstance(value, str | int) else None


def _failure(code: Any) -> str:
    """A failure reason (PS3.3 C.14.1.1) in words; its high byte alone tells kinds of failure apart."""
    if not isinstance(code, int):
        return "refused"
    named = _FAILURES.get(code) or _FAILURES.get(code & 0xFF00) or "refused"
    return f"{code:04X} {named}"
