"""The way back to a PACS: a real Orthanc with DICOMweb, dcmtk's opinion of every file, and a PACS that refuses."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest

from radray import storage
from radray.dicom.parsing import lenient, parse
from radray.errors import ConfigError
from radray.relabel import stow
from radray.relabel.config import RelabelConfig
from radray.relabel.stage import run_relabel
from radray.relabel.stow import PacsUnreachable, StowClient, check_pacs
from radray.review.verdict_file import append_verdict
from radray.review.verdicts import Verdict
from tests.orthanc import running_orthanc
from tests.relabel.changed_archive import contents, predict_changes, write_predictions


@pytest.fixture(scope="module")
def archive(phantom_archive, tmp_path_factory):
    return predict_changes(phantom_archive.archive, phantom_archive.truth, tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="module")
def few(phantom_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    return predict_changes(phantom_archive.archive, phantom_archive.truth, folder, syntaxes=4)


def settings(predictions, folder):
    names = {name: str(folder / name) for name in ("output", "copies", "sr")}
    return RelabelConfig(predictions=predictions, reject=True, **names)


@pytest.fixture
def config(few, tmp_path):
    return settings(few.predictions, tmp_path)


def sending(config, url, **others):
    return RelabelConfig(**{**vars(config), "stow": url, **others})


def all_rows(folder):
    return [row for file in storage.list_files(folder) for row in storage.read_table(file).to_pylist()]


def rows_of(config, kind):
    return {row["uri"]: row for row in all_rows(f"{config.output}/written") if row["kind"] == kind}


def urls_of(config, kind):
    return {uri: row["url"] for uri, row in rows_of(config, kind).items()}


def pixels(body):
    with lenient():
        parsed = parse(body)
        return parsed.body[parsed.pixels.offset :]


@pytest.mark.system
def test_orthanc_takes_copies_reports_and_notes_once(archive, tmp_path):
    config = settings(archive.predictions, tmp_path)
    with running_orthanc(tmp_path) as pacs:
        for uri in archive.changed:
            assert pacs.upload(storage.read_bytes(uri)) == 200
        config = sending(config, pacs.dicomweb)
        config.check()
        dry = run_relabel(RelabelConfig(**{**vars(config), "dry_run": True}))["would"]
        assert pacs.count() == len(archive.changed)
        sent = run_relabel(config)["sent"]
        ready = [row for kind in ("copy", "sr", "rejection") for row in rows_of(config, kind).values() if row["url"]]
        assert {row["sent"] for row in ready} == {"stored"}
        assert sum(count for what, count in sent.items() if what.endswith("stored")) == len(ready)
        assert dry["to send"] >= len(ready)
        assert pacs.count() == len(archive.changed) + len(ready)
        copies, notes, shown = rows_of(config, "copy"), rows_of(config, "rejection"), 0
        for uri in archive.changed:
            copy, body = copies[uri], storage.read_bytes(copies[uri]["url"])
            name = pacs.find(copy["sop_instance_uid"])
            back = pacs.file(name)
            assert pixels(back) == pixels(body) == pixels(storage.read_bytes(uri))
            tags, told = pacs.tags(name), pydicom.dcmread(io.BytesIO(body))
            assert tags["BodyPartExamined"] == told.BodyPartExamined
            old = pydicom.dcmread(uri)
            assert tags["ReferencedImageSequence"][0]["ReferencedSOPInstanceUID"] == old.SOPInstanceUID
            assert pacs.series_tags(name)["BodyPartExamined"] == told.BodyPartExamined
            note = pacs.tags(pacs.find(notes[uri]["sop_instance_uid"]))
            assert note["ConceptNameCodeSequence"][0]["CodeMeaning"] == "Rejected for Quality Reasons"
            original = pacs.find(old.SOPInstanceUID)
            assert pixels(pacs.file(original)) == pixels(storage.read_bytes(uri))
            assert pacs.preview(name) == pacs.preview(original)
            shown += pacs.preview(name) is not None
        assert shown >= 8
        before, files = pacs.changes(), contents(config.output)
        again = run_relabel(config)["sent"]
        assert again == {"stopped": None, "unsent": 0}
        assert pacs.changes() == before
        assert contents(config.output) == files


@pytest.mark.system
@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmtk is not installed (Debian: dcmtk)")
def test_dcmtk_reads_every_file_that_is_written(archive, tmp_path):
    config = settings(archive.predictions, tmp_path)
    run_relabel(config)
    for kind in ("copy", "sr", "rejection"):
        for uri in archive.changed:
            path = rows_of(config, kind)[uri]["url"]
            assert tool("dcmftest", path).startswith("yes:")
            assert "\nE:" not in tool("dcmdump", path)
            if kind != "copy":
                assert "\nE:" not in tool("dsrdump", path)
            elif (syntax := pydicom.dcmread(uri).file_meta.TransferSyntaxUID) not in NOT_SHOWN:
                shown = [subprocess.run(["dcmj2pnm", file], capture_output=True, check=True) for file in (path, uri)]
                assert shown[0].stdout == shown[1].stdout, syntax
                assert shown[0].stdout[:2] in (b"P2", b"P5", b"P6")


NOT_SHOWN = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
"""JPEG 2000 and JPEG-LS, which dcmj2pnm has no decoder for."""


def tool(*command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class Pacs(BaseHTTPRequestHandler):
    """Stores what it is sent, but for SOP Instance UIDs in `refused`; answers `answer` or `page` where one is set."""

    stored: list[str] = []
    refused: dict[str, int] = {}
    answer: list[int] = []
    page: tuple[int, str, bytes] | None = None
    """Status, content type and body of every answer."""
    speaks_xml = False
    authorization: list[str | None] = []

    def do_GET(self) -> None:
        self.authorization.append(self.headers.get("Authorization"))
        self._reply(self.answer[0] if self.answer else 200, [])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.page is not None:
            self._reply(200, [])
            return
        if self.answer:
            self._reply(self.answer.pop(0) if len(self.answer) > 1 else self.answer[0], None)
            return
        boundary = re.search(r"boundary=(\S+)", self.headers["Content-Type"])[1].encode()
        parts = body.split(b"--" + boundary)[1:-1]
        bodies = [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts]
        uids = [pydicom.dcmread(io.BytesIO(each), stop_before_pixels=True).SOPInstanceUID for each in bodies]
        kept = [uid for uid in uids if uid not in self.refused]
        self.stored.extend(kept)
        said = {"00081199": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in kept]}
        said["00081198"] = [
            {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [self.refused[uid]]}}
            for uid in uids
            if uid in self.refused
        ]
        document = {tag: {"vr": "SQ", "Value": items} for tag, items in said.items() if items}
        self._reply(200 if len(kept) == len(uids) else 202 if kept else 409, document)

    def _reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode() if document is not None else b"busy"
        kind = "application/dicom+json" if document is not None else "text/plain"
        if self.speaks_xml and document is not None:
            kind, body = "application/dicom+xml", native_model(document)
        if self.page is not None:
            status, kind, body = self.page
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def native_model(document: dict[str, Any]) -> bytes:
    """A data set of the DICOM JSON model as XML (PS3.19 A.1)."""

    def write(parent: ElementTree.Element, dataset: dict[str, Any]) -> None:
        for tag, element in dataset.items():
            attribute = ElementTree.SubElement(parent, "DicomAttribute", tag=tag, vr=element["vr"])
            for number, value in enumerate(element["Value"], 1):
                name = "Item" if element["vr"] == "SQ" else "Value"
                child = ElementTree.SubElement(attribute, name, number=str(number))
                if name == "Item":
                    write(child, value)
                else:
                    child.text = str(value)

    root = ElementTree.Element("NativeDicomModel", xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM")
    write(root, document)
    return ElementTree.tostring(root, encoding="utf-8")


@pytest.fixture
def pacs(monkeypatch):
    monkeypatch.setattr(stow, "_PAUSES_S", (0.01, 0.01))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pacs)
    Pacs.stored, Pacs.refused, Pacs.answer, Pacs.authorization = [], {}, [], []
    Pacs.page, Pacs.speaks_xml = None, False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_a_pacs_refuses_has_a_reason_and_its_original_is_not_rejected(few, config, pacs):
    run_relabel(config)
    copies = rows_of(config, "copy")
    uri = few.changed[0]
    Pacs.refused = {copies[uri]["sop_instance_uid"]: 0x0122}
    config = sending(config, pacs, stow_mib=0.1)
    sent = run_relabel(config)["sent"]
    assert sent["copy failed"] == 1
    row = rows_of(config, "copy")[uri]
    assert (row["sent"], row["sent_message"]) == ("failed", "0122 SOP class not supported")
    assert rows_of(config, "rejection")[uri]["sent"] is None
    assert rows_of(config, "sr")[uri]["sent"] == "stored"
    assert len(Pacs.stored) == len(set(Pacs.stored))
    Pacs.refused, before = {}, len(Pacs.stored)
    again = run_relabel(config)["sent"]
    assert again == {"copy stored": 1, "rejection stored": 1, "stopped": None, "unsent": 0}
    assert len(Pacs.stored) == before + 2
    order = [Pacs.stored.index(rows_of(config, kind)[uri]["sop_instance_uid"]) for kind in ("copy", "rejection")]
    assert order == sorted(order)


PAGES = [
    (200, "text/html; charset=utf-8", b"<html>Please log in</html>"),
    (200, "application/json", b'{"error": "log in"}'),
    (200, "application/dicom+json", b"{"),
    (200, "application/dicom+xml", b'<!DOCTYPE x [<!ENTITY e "1.2">]><NativeDicomModel/>'),
    (200, "application/dicom+xml", b"<NativeDicomModel"),
    (200, "text/plain", b""),
    (302, "text/html", b"moved"),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_to_log_in_stores_nothing(pacs, page):
    Pacs.page = page
    client = StowClient(pacs)
    with pytest.raises(PacsUnreachable, match=f"HTTP {page[0]}"):
        client.store({"1.2": b"", "1.3": b""})
    client.close()


@pytest.mark.parametrize("page", [PAGES[0], PAGES[1], PAGES[2], PAGES[5], PAGES[6]])
def test_a_page_to_log_in_is_no_pacs(pacs, page):
    Pacs.page = page
    with pytest.raises(ConfigError, match="no PACS answers there .* set the root of its DICOMweb"):
        check_pacs(pacs)
    Pacs.page = (204, "application/dicom+json", b"")
    check_pacs(pacs)


def test_what_a_page_to_log_in_answered_is_sent_again(config, pacs, capsys):
    Pacs.page = PAGES[0]
    config = sending(config, pacs)
    sent = run_relabel(config)["sent"]
    ready = sum(bool(row["url"]) for row in all_rows(f"{config.output}/written"))
    assert set(sent) == {"stopped", "unsent"}
    assert sent["stopped"].startswith(
        "HTTP 200 with text/html, which names none of the objects sent; is --stow the root"
    )
    assert sent["unsent"] == ready
    assert "not sent, run again" in capsys.readouterr().err
    assert {row["sent"] for row in all_rows(f"{config.output}/written")} == {None}
    Pacs.page = None
    assert run_relabel(config)["sent"]["unsent"] == 0
    assert len(Pacs.stored) == ready


def test_an_object_that_an_answer_does_not_name_is_not_stored(pacs):
    said = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}
    Pacs.page = (200, "application/dicom+json", json.dumps(said).encode())
    client = StowClient(pacs)
    assert client.store({"1.2": b"", "1.3": b""}) == {"1.2": None, "1.3": "HTTP 200"}
    client.close()


def test_a_pacs_may_answer_in_xml(few, config, pacs):
    run_relabel(config)
    Pacs.speaks_xml = True
    Pacs.refused = {rows_of(config, "copy")[few.changed[0]]["sop_instance_uid"]: 0x0122}
    sent = run_relabel(sending(config, pacs))["sent"]
    ready = sum(bool(row["url"]) for row in rows_of(config, "copy").values())
    assert (sent["copy failed"], sent["copy stored"]) == (1, ready - 1)
    assert rows_of(config, "copy")[few.changed[0]]["sent_message"] == "0122 SOP class not supported"


def test_undo_withdraws_what_the_pacs_stored(few, config, pacs):
    run_relabel(sending(config, pacs))
    stored = len(Pacs.stored)
    corrections = [row for kind in ("copy", "sr") for row in rows_of(config, kind).values() if row["sent"] == "stored"]
    notes = sum(row["sent"] == "stored" for row in rows_of(config, "rejection").values())
    undo = RelabelConfig(predictions=config.predictions, output=config.output, stow=pacs, undo=True)
    undo.check()
    Pacs.answer = [409]
    refused = run_relabel(undo)
    assert refused["withdrawn"]["copy not withdrawn"] == len(contents(config.copies))
    assert refused["removed"] == {"rejection": notes, "stored_elsewhere": notes + len(corrections)}
    Pacs.answer = []
    undone = run_relabel(undo)
    assert len(Pacs.stored) == stored + len(corrections)
    assert sum(count for what, count in undone["withdrawn"].items() if "withdrawn" in what) == len(corrections)
    assert "stored_elsewhere" not in undone["removed"]
    assert contents(config.copies) == contents(config.sr) == {}


def test_a_correction_that_is_corrected_is_withdrawn_from_the_pacs_first(few, config, pacs, tmp_path):
    uri, verdicts = few.changed[0], tmp_path / "verdicts.csv"
    append_verdict(verdicts, Verdict(uri=uri, reviewer="ab", verdict="correct", region="foot"))
    config = RelabelConfig(**{**vars(config), "verdicts": str(verdicts)})
    run_relabel(sending(config, pacs))
    old = rows_of(config, "copy")[uri]
    append_verdict(verdicts, Verdict(uri=uri, reviewer="ab", verdict="correct", region="scapula"))
    run_relabel(config)
    assert storage.exists(old["url"])
    stored = len(Pacs.stored)
    sent = run_relabel(sending(config, pacs))["sent"]
    assert {what: count for what, count in sent.items() if count} == {
        "copy stored": 1, "sr stored": 1, "rejection stored": 1, "copy withdrawn": 1, "sr withdrawn": 1
    }  # fmt: skip
    assert len(Pacs.stored) == stored + 5
    assert not storage.exists(old["url"])
    kinds = [row["kind"] for row in all_rows(f"{config.output}/written") if row["uri"] == uri]
    assert sorted(kinds) == ["copy", "rejection", "sr"]
    assert run_relabel(sending(config, pacs))["sent"] == {"stopped": None, "unsent": 0}


def test_scored_anew_nothing_is_sent_twice(few, config, pacs, tmp_path):
    run_relabel(sending(config, pacs))
    stored, files = len(Pacs.stored), contents(config.copies)
    before, anew = urls_of(config, "copy"), tmp_path / "anew" / "other.parquet"
    write_predictions(str(anew), all_rows(few.predictions))
    decided = storage.modified(storage.list_files(few.predictions)[0]).timestamp()
    os.utime(anew, (decided, decided))
    run_relabel(RelabelConfig(**{**vars(sending(config, pacs)), "predictions": str(anew.parent)}))
    assert urls_of(config, "copy") == before
    assert contents(config.copies) == files
    assert len(Pacs.stored) == stored


def test_a_pacs_that_is_busy_is_asked_again_and_one_that_stays_so_ends_the_sending(config, pacs):
    Pacs.answer = [503, 503, 503]
    config = sending(config, pacs)
    stopped = run_relabel(config)
    assert stopped["sent"]["stopped"] == "HTTP 503"
    assert stopped["sent"]["unsent"] > 10
    assert stopped["rows_in"] == stopped["rows_out"]
    Pacs.answer = []
    assert run_relabel(config)["sent"]["unsent"] == 0


def test_one_object_that_a_pacs_chokes_on_takes_no_others_along(pacs, monkeypatch):
    from radray.relabel.sending import _store

    class Client(StowClient):
        def store(self, bodies):
            return dict.fromkeys(bodies, "HTTP 500" if "3" in bodies else None)

    client = Client(pacs)
    found = _store(client, {str(number): b"" for number in range(7)})
    client.close()
    assert found == {**dict.fromkeys("012456"), "3": "HTTP 500"}


def test_credentials_come_from_the_environment(pacs, monkeypatch):
    check_pacs(pacs)
    monkeypatch.setenv("RADRAY_STOW_USER", "radray")
    monkeypatch.setenv("RADRAY_STOW_PASSWORD", "secret")
    check_pacs(pacs)
    monkeypatch.setenv("RADRAY_STOW_TOKEN", "token")
    check_pacs(pacs + "/studies/")
    assert Pacs.authorization == [None, "Basic cmFkcmF5OnNlY3JldA==", "Bearer token"]


def test_a_pacs_that_refuses_or_does_not_answer_stops_the_job_before_any_work(config, pacs):
    Pacs.answer = [401]
    with pytest.raises(ConfigError, match=r"refuses access \(HTTP 401\); set RADRAY_STOW_TOKEN"):
        sending(config, pacs).check()
    with pytest.raises(ConfigError, match="the PACS cannot be reached"):
        sending(config, "http://127.0.0.1:9/dicom-web").check()
