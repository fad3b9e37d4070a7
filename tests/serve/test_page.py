"""The page at `/` in headless Chromium: a radiograph dropped, its answer, its heat map, a refusal, running jobs."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.answers import Relabel
from serve.keys import NewKeyConfig, add_key
from tests.review.test_browser import Page, page
from tests.serve.local import LocalService, listening

__all__ = ["page"]
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
const moved = new DataTransfer();
moved.items.add(new File([bytes], 'a.dcm', { type: arguments[1] }));
const dropped = new DragEvent('drop', { dataTransfer: moved, bubbles: true, cancelable: true });
document.getElementById('drop').dispatchEvent(dropped);
"""


class OneJob:
    """Relabels as a cluster with one running job tells them; the job server itself is in test_relabels.py."""

    def list(self) -> list[Relabel]:
        return [self.show("relabel-0011223344556677")]

    def show(self, name: str) -> Relabel:
        return Relabel(
            id=name, status="running", archive="s3://pacs/2024", output="s3://out", asked_by="tests", started=1.0,
            ended=None, rows_done=1200, rows_total=5000, rows_per_s=40.0, eta_s=95.0, summary=None, message=None,
        )  # fmt: skip


@pytest.fixture
def served(saved_bundle, tmp_path) -> Iterator[tuple[str, str, LocalService]]:
    bundle, folder = saved_bundle
    url = str(tmp_path / "keys.csv")
    key = add_key(NewKeyConfig(keys=url, name="all", roles=("predict", "relabel")))
    service = LocalService(bundle, folder, OneJob(), api_keys=url)
    with listening(service) as address:
        yield address, key, service


def drop(page: Page, body: bytes, kind: str = "") -> None:
    page.run(DROP, base64.b64encode(body).decode(), kind)


def test_a_dropped_radiograph_is_answered_with_picture_and_heat_map(page: Page, served, radiographs) -> None:
    address, key, service = served
    page.open(address)
    drop(page, radiographs[0])
    page.until("document.getElementById('state').textContent.includes('unauthorised')")
    page.run("document.getElementById('key').value = arguments[0]", key)
    page.run("document.getElementById('key').dispatchEvent(new Event('change'))")
    page.until("!document.getElementById('relabels').hidden")
    assert "1,200 of 5,000" in page.text("jobs")
    drop(page, radiographs[0])
    page.until("!document.getElementById('answer').hidden")
    assert page.text("region").replace(" ", "_") in service.bundle.regions.names
    page.until("document.getElementById('picture').naturalWidth > 0")
    assert page.run("return document.querySelectorAll('#probabilities li').length") == 5
    page.run("document.getElementById('over').click()")
    page.until("!document.getElementById('heat').hidden && document.getElementById('heat').naturalWidth > 0")
    if folder := os.environ.get("RADRAY_SCREENSHOTS"):
        page.driver.save_screenshot(str(Path(folder) / "page.png"))
    drop(page, b"this is no radiograph")
    page.until("document.getElementById('state').textContent.includes('not dicom')")
    assert page.run("return document.getElementById('answer').hidden")
    assert [line for line in page.complaints() if "401" not in line and "415" not in line] == []
