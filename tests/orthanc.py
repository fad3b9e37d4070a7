"""An Orthanc of a test's own: on loopback, in an empty folder, with its DICOMweb plugin."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running server."""

    url: str
    """Of its REST API."""
    dicomweb: str
    """Of its DICOMweb root."""

    def upload(self, body: bytes) -> int:
        """Store one object by the REST API; the HTTP status."""
        return httpx.post(f"{self.url}/instances", content=body).status_code

    def find(self, sop_instance_uid: str) -> str | None:
        """Orthanc's own name of an instance, None where it has none."""
        found = httpx.post(f"{self.url}/tools/lookup", content=sop_instance_uid).json()
        return next((each["ID"] for each in found if each["Type"] == "Instance"), None)

    def file(self, name: str) -> bytes:
        """The DICOM file of an instance, by Orthanc's own name."""
        return httpx.get(f"{self.url}/instances/{name}/file").content

    def preview(self, name: str) -> bytes | None:
        """An instance as a picture (PNG), None where Orthanc cannot decode it."""
        answer = httpx.get(f"{self.url}/instances/{name}/preview", headers={"Accept": "image/png"})
        return answer.content if answer.status_code == 200 else None

    def tags(self, name: str) -> dict[str, Any]:
        """Keyword → value of an instance, by Orthanc's own name."""
        return httpx.get(f"{self.url}/instances/{name}/simplified-tags").json()

    def series_tags(self, name: str) -> dict[str, Any]:
        """Keyword → value of what Orthanc knows of an instance's series."""
        return httpx.get(f"{self.url}/instances/{name}/series").json()["MainDicomTags"]

    def count(self) -> int:
        """Instances stored."""
        return httpx.get(f"{self.url}/statistics").json()["CountInstances"]

    def changes(self) -> int:
        """Number of the last thing that happened to what is stored."""
        return httpx.get(f"{self.url}/changes?last").json()["Last"]


@contextmanager
def running_orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Start Orthanc with `settings` beside the usual ones; skip the test where it is not installed."""
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    if not Path(program).exists() or not _PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed (Debian: orthanc orthanc-dicomweb)")
    port = _free_port()
    configuration = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/system", process, folder / "orthanc.log")
        yield Orthanc(url=f"http://127.0.0.1:{port}", dicomweb=f"http://127.0.0.1:{port}/dicom-web")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(url, timeout=2)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])
