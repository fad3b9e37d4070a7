"""Copies, reports and notes of a phantom export: what is written, that it stays, that it goes."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pydicom
import pytest

from radray import storage, tables
from radray.dicom.parsing import lenient, parse
from radray.errors import ConfigError
from radray.relabel.archive_guard import check_outside_archive
from radray.relabel.config import RelabelConfig
from radray.relabel.corrections import Chunk, whole_objects
from radray.relabel.stage import run_relabel
from radray.review.verdict_file import append_verdict
from radray.review.verdicts import Verdict
from tests.relabel.changed_archive import REGIONS, contents, predict_changes, prediction, write_predictions

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(phantom_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    storage.write_json(f"{folder}/_manifest/0000/done.json", {"archive": phantom_archive.archive})
    return predict_changes(phantom_archive.archive, phantom_archive.truth, folder)


@pytest.fixture
def config(archive, tmp_path):
    return settings(archive.predictions, tmp_path)


def settings(predictions, folder, **others):
    names = {name: str(folder / name) for name in ("output", "copies", "sr")}
    return RelabelConfig(**{"predictions": predictions, **names, **others})


def all_written(config):
    parts = storage.list_files(f"{config.output}/written")
    return [row for part in parts for row in storage.read_table(part).to_pylist()]


def written(config, kind=None):
    return {row["uri"]: row for row in all_written(config) if row["kind"] == (kind or row["kind"])}


def pixels(body):
    with lenient():
        parsed = parse(body)
        return parsed.transfer_syntax, parsed.body[parsed.pixels.offset :]


def read(row):
    return pydicom.dcmread(io.BytesIO(storage.read_bytes(row["url"])))


def test_every_change_gets_a_copy_and_a_report_or_a_reason(archive, config):
    before = contents(archive.archive)
    config.check()
    summary = run_relabel(config)
    labels = {row["uri"]: row for row in storage.read_table(config.output).to_pylist()}
    changed = {uri for uri, row in labels.items() if row["region"] != row["previous"]}
    copies, reports = written(config, "copy"), written(config, "sr")
    assert set(copies) == set(reports) == changed
    assert summary["changed"] == len(changed)
    assert {row["reason"] for row in copies.values()} >= {None, "no_pixels"}
    syntaxes = set()
    for uri in archive.changed:
        row, region = copies[uri], REGIONS[labels[uri]["region"]]
        assert (row["status"], reports[uri]["status"]) == ("ok", "ok")
        copy, source = storage.read_bytes(row["url"]), storage.read_bytes(uri)
        assert pixels(copy) == pixels(source)
        syntaxes.add(pixels(copy)[0])
        dataset, original = pydicom.dcmread(io.BytesIO(copy)), pydicom.dcmread(uri)
        assert dataset.BodyPartExamined == region.body_part_examined
        assert dataset.AnatomicRegionSequence[0].CodeValue == region.snomed_code
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == row["sop_instance_uid"]
        assert dataset.SOPInstanceUID != original.SOPInstanceUID
        assert (dataset.PatientID, dataset.StudyInstanceUID) == (original.PatientID, original.StudyInstanceUID)
        report = read(reports[uri])
        assert (report.PatientID, report.StudyInstanceUID) == (original.PatientID, original.StudyInstanceUID)
        assert region.snomed_code in str(report) and "feed" in str(report)
    assert len(syntaxes) >= 11
    assert contents(archive.archive) == before


def test_a_second_relabel_changes_nothing(config):
    first = run_relabel(config)
    folder = Path(config.output).parent
    before = contents(folder)
    second = run_relabel(config)
    assert contents(folder) == before
    made = first["corrections"]["copy written"]
    assert made > 10
    assert second["corrections"]["copy kept"] == made
    assert "copy written" not in second["corrections"]


def test_a_dry_run_counts_what_the_run_then_does(config):
    folder = Path(config.output).parent
    dry = run_relabel(RelabelConfig(**{**vars(config), "dry_run": True}))
    assert contents(folder) == {}
    done = run_relabel(config)["corrections"]
    rows = written(config, "copy").values()
    assert dry["would"]["copy to write"] == len(rows)
    assert done["copy written"] == sum(row["status"] == "ok" for row in rows)
    sources = sum(len(storage.read_bytes(row["uri"])) for row in rows)
    assert dry["would"]["bytes of copies"] == sources
    again = run_relabel(RelabelConfig(**{**vars(config), "dry_run": True}))
    assert again["would"]["copy kept"] == done["copy written"]


def test_undo_removes_what_was_written_and_nothing_else(config):
    run_relabel(config)
    stranger = Path(next(row["url"] for row in written(config, "copy").values() if row["url"])).parent / "other.dcm"
    stranger.write_bytes(b"a stranger's")
    undone = run_relabel(RelabelConfig(predictions=config.predictions, output=config.output, undo=True))
    assert undone["removed"]["copy"] == undone["removed"]["sr"] > 10
    assert list(contents(config.copies)) == [str(stranger)]
    assert contents(config.sr) == {} == contents(f"{config.output}/written")
    assert {row["source"] for row in storage.read_table(config.output).to_pylist()} <= {"header", None}


def test_a_changed_verdict_replaces_its_copy_alone(archive, config, tmp_path):
    verdicts = tmp_path.parent / f"{tmp_path.name}.csv"
    uri, gone = archive.changed[:2]
    about = {"reviewer": "Dr. Müller", "time": "2026-11-02T10:00:00+00:00"}
    append_verdict(verdicts, Verdict(uri=uri, verdict="correct", region="foot", **about))
    config = RelabelConfig(**{**vars(config), "verdicts": str(verdicts)})
    run_relabel(config)
    before, row = contents(config.copies), written(config, "copy")[uri]
    assert read(row).BodyPartExamined == REGIONS["foot"].body_part_examined
    assert "Dr. Müller" in str(read(written(config, "sr")[uri]))
    append_verdict(verdicts, Verdict(uri=uri, verdict="correct", region="scapula", **about))
    append_verdict(verdicts, Verdict(uri=gone, verdict="out_of_domain", **about))
    run_relabel(config)
    after, new = contents(config.copies), written(config, "copy")
    assert read(new[uri]).BodyPartExamined == REGIONS["scapula"].body_part_examined
    assert (new[gone]["status"], new[gone]["reason"], new[gone]["url"]) == ("set_aside", "no_region", None)
    assert set(after) - set(before) == {new[uri]["url"]}
    assert len(set(before) - set(after)) == 2
    assert all(after[path] == before[path] for path in set(after) & set(before))


def test_a_run_without_folders_tells_of_copies_that_no_longer_fit(archive, tmp_path, capsys):
    uris = archive.changed[:3]
    write_predictions(str(tmp_path / "p" / "a.parquet"), [prediction(uri, REGIONS["skull"]) for uri in uris])
    run_relabel(settings(str(tmp_path / "p"), tmp_path))
    before = contents(tmp_path / "copies")
    labels = RelabelConfig(predictions=str(tmp_path / "p"), output=str(tmp_path / "output"))
    capsys.readouterr()
    assert run_relabel(labels)["left_as_they_are"] == 0
    assert "earlier runs" not in capsys.readouterr().err
    append_verdict(tmp_path / "v.csv", Verdict(uri=uris[0], reviewer="ab", verdict="correct", region="foot"))
    append_verdict(tmp_path / "v.csv", Verdict(uri=uris[1], reviewer="ab", verdict="unsure"))
    summary = run_relabel(RelabelConfig(**{**vars(labels), "verdicts": str(tmp_path / "v.csv")}))
    assert summary["left_as_they_are"] == 4
    assert "4 copies, reports and notes of earlier runs" in capsys.readouterr().err
    assert contents(tmp_path / "copies") == before


def test_killed_at_any_moment_and_started_again_the_same_files(archive, config, tmp_path):
    run_relabel(config)
    whole = {path.rsplit("/", 1)[-1]: body for path, (body, _) in contents(config.copies).items()}
    killed = settings(archive.predictions, tmp_path / "killed", workers=2)
    command = [sys.executable, "jobs/relabel.py", "--predictions", archive.predictions, "--output", killed.output]
    command += ["--copies", killed.copies, "--sr", killed.sr, "--workers", "2"]
    job = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(contents(killed.copies)) < 4 and job.poll() is None:
        time.sleep(0.01)
    assert job.poll() is None
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    half = contents(killed.copies)
    known = {row["url"] for row in written(killed, "copy").values()}
    assert {path for path in half if "/." not in path} <= known
    # A run that is killed while it writes leaves a draft of a file.
    pending = [Path(row["url"]) for row in all_written(killed) if row["status"] == "pending"]
    drafts = [path.with_name(f".{path.name}.4711") for path in pending]
    assert drafts
    for draft in drafts:
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"half")
    assert 4 <= len(half) < len(whole)
    run_relabel(killed)
    assert {path.rsplit("/", 1)[-1]: body for path, (body, _) in contents(killed.copies).items()} == whole
    assert {row["status"] for row in all_written(killed)} == {"ok", "set_aside", "failed"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_stopped_before_any_of_its_writes_a_run_ends_the_same_and_leaves_nothing_unknown(
    archive, tmp_path, monkeypatch
):
    whole = settings(archive.predictions, tmp_path / "whole", sr=None, workers=3)
    run_relabel(whole)
    expected = {Path(path).name: body for path, (body, _) in contents(whole.copies).items()}
    real, left = storage.write_bytes, [0]

    def write_bytes(url, body):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        real(url, body)

    monkeypatch.setattr(storage, "write_bytes", write_bytes)
    for after in (1, 3, 4, 6, 8, 13, 21):
        folder = tmp_path / str(after)
        config = settings(archive.predictions, folder, sr=None, workers=3)
        left[0] = after
        with pytest.raises(Killed):
            run_relabel(config)
        left[0] = 1000
        known = {row["url"] for row in all_written(config)}
        assert set(contents(config.copies)) <= known
        if after in (6, 13):
            run_relabel(RelabelConfig(predictions=config.predictions, output=config.output, undo=True))
            assert contents(config.copies) == {}
        run_relabel(config)
        assert {Path(path).name: body for path, (body, _) in contents(config.copies).items()} == expected
        assert {row["status"] for row in all_written(config)} == {"ok", "set_aside", "failed"}


def test_copies_of_s3_objects_zip_members_and_gzip_files(archive, s3, tmp_path):
    bodies = [storage.read_bytes(uri) for uri in archive.changed[:3]]
    storage.write_bytes(f"{s3}/archive/plain.dcm", bodies[0])
    storage.write_bytes(f"{s3}/archive/packed.dcm.gz", gzip.compress(bodies[1]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("folder/one.dcm", bodies[2])
    storage.write_bytes(f"{s3}/archive/export.zip", packed.getvalue())
    uris = [f"{s3}/archive/{name}" for name in ("plain.dcm", "packed.dcm.gz", "export.zip::folder/one.dcm", "gone.dcm")]
    predictions = f"{s3}/predictions"
    write_predictions(f"{predictions}/part.parquet", [prediction(uri, REGIONS["skull"]) for uri in uris])
    config = RelabelConfig(predictions=predictions, output=f"{s3}/labels", copies=f"{s3}/copies")
    config.check()
    run_relabel(config)
    rows = written(config)
    for uri, body in zip(uris, bodies, strict=False):
        assert pixels(storage.read_bytes(rows[uri]["url"])) == pixels(body)
    assert (rows[uris[3]]["status"], rows[uris[3]]["reason"]) == ("failed", "fetch_failed")
    again = run_relabel(config)["corrections"]
    assert (again["copy kept"], again["copy fetch_failed"]) == (3, 1)
    undone = run_relabel(RelabelConfig(predictions=predictions, output=config.output, undo=True))
    assert undone["removed"] == {"copy": 3}


def test_keys_are_found_in_the_index(archive, tmp_path):
    uri = archive.changed[0]
    write_predictions(
        str(tmp_path / "p" / "a.parquet"), [prediction(key, REGIONS["skull"]) for key in ("feed", "beef")]
    )
    row = dict.fromkeys(tables.INDEX_SCHEMA.names) | {"key": "feed", "uri": uri, "size": 77}
    index = tmp_path / "index"
    storage.write_table(str(index / "a.parquet"), pa.Table.from_pylist([row], schema=tables.INDEX_SCHEMA))
    config = settings(str(tmp_path / "p"), tmp_path, index=str(index))
    config.check()
    assert run_relabel(RelabelConfig(**{**vars(config), "dry_run": True}))["would"]["bytes of copies"] == 77
    run_relabel(config)
    rows = written(config, "copy")
    assert pixels(storage.read_bytes(rows["feed"]["url"])) == pixels(storage.read_bytes(uri))
    assert rows["beef"]["reason"] == "fetch_failed"


def test_one_frame_of_several_does_not_decide_for_all(archive, tmp_path):
    uri = next(uri for uri in archive.changed if pixels(storage.read_bytes(uri))[0] == "1.2.840.10008.1.2.1")
    dataset = pydicom.dcmread(uri)
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2
    (tmp_path / "archive").mkdir()
    both, one, apart = (str(tmp_path / "archive" / f"{name}.dcm") for name in ("both", "one", "apart"))
    for path in (both, one, apart):
        dataset.save_as(path)
    rows = [prediction(both, REGIONS["skull"]), prediction(f"{both}#frame=2", REGIONS["skull"])]
    rows += [prediction(one, REGIONS["skull"])]
    rows += [prediction(apart, REGIONS["skull"]), prediction(f"{apart}#frame=2", REGIONS["knee"])]
    write_predictions(str(tmp_path / "p" / "a.parquet"), rows)
    config = settings(str(tmp_path / "p"), tmp_path / "out")
    assert run_relabel(config)["rows_out"] == 5
    found = written(config, "copy")
    assert {uri: row["reason"] for uri, row in found.items()} == {both: None, one: "some_frames", apart: "some_frames"}
    assert "1 of its 2 frames" in found[one]["message"]


def test_frames_beyond_the_end_of_a_part_or_a_file_count_too(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("radray.relabel.stage._ROWS_PER_PART", 3)
    uri = next(uri for uri in archive.changed if pixels(storage.read_bytes(uri))[0] == "1.2.840.10008.1.2.1")
    dataset = pydicom.dcmread(uri)
    dataset.NumberOfFrames = 3
    dataset.PixelData = dataset.PixelData * 3
    objects = [str(tmp_path / "archive" / name) for name in ("a.dcm", "b.dcm", "c.dcm", "d.dcm")]
    for place in objects:
        body = io.BytesIO()
        dataset.save_as(body)
        storage.write_bytes(place, body.getvalue())
    keys = [f"{place}{frame}" for place in objects for frame in ("", "#frame=2", "#frame=3")]
    # Five rows in one file, seven in the next, three a part: b stands across the files, c and d across parts.
    for name, some in (("a", keys[:5]), ("b", keys[5:])):
        write_predictions(str(tmp_path / "p" / f"{name}.parquet"), [prediction(key, REGIONS["skull"]) for key in some])
    config = settings(str(tmp_path / "p"), tmp_path / "out")
    summary = run_relabel(config)
    assert (summary["rows_in"], summary["rows_out"]) == (12, 12)
    assert {each: row["status"] for each, row in written(config, "copy").items()} == dict.fromkeys(objects, "ok")
    assert summary["corrections"]["copy written"] == 4
    before = contents(tmp_path / "out")
    assert run_relabel(config)["corrections"]["copy kept"] == 4
    assert contents(tmp_path / "out") == before


def test_an_object_longer_than_parts_goes_with_its_last_frame():
    chunks = [("p0", "ab"), ("p1", "bb"), ("p2", "bc"), ("p3", "d")]
    made = [Chunk(name, [{"uri": f"/{key}.dcm#frame={n}"} for n, key in enumerate(keys)], 0.0) for name, keys in chunks]
    found = [(chunk.name, "".join(row["uri"][1] for row in chunk.rows)) for chunk in whole_objects(made)]
    assert found == [("p0", "a"), ("p1", ""), ("p2", "bbbbc"), ("p3", "d")]


def test_a_source_that_changed_gets_another_copy(archive, s3, tmp_path):
    bodies = [storage.read_bytes(uri) for uri in archive.changed[:3]]
    uris = [str(tmp_path / "archive" / "a.dcm"), str(tmp_path / "archive" / "b.dcm"), f"{s3}/archive/c.dcm"]
    for uri, body in zip(uris, bodies, strict=True):
        storage.write_bytes(uri, body)
    write_predictions(str(tmp_path / "p" / "a.parquet"), [prediction(uri, REGIONS["skull"]) for uri in uris])
    config = settings(str(tmp_path / "p"), tmp_path / "out")
    run_relabel(config)
    old = written(config, "copy")
    assert run_relabel(config)["corrections"]["copy kept"] == 3
    for uri in (uris[0], uris[2]):
        storage.write_bytes(uri, bodies[1])
    dry = run_relabel(RelabelConfig(**{**vars(config), "dry_run": True}))["would"]
    assert (dry["copy to write"], dry["copy kept"]) == (2, 1)
    assert run_relabel(config)["corrections"]["copy written"] == 2
    new = written(config, "copy")
    for uri in uris:
        assert pixels(storage.read_bytes(new[uri]["url"])) == pixels(bodies[1])
    assert not storage.exists(old[uris[0]]["url"])
    storage.remove(uris[0])
    kept = run_relabel(config)["corrections"]
    assert (kept["copy kept"], kept["removed"]) == (3, 0)


def test_exact_copies_share_one_file(archive, tmp_path):
    body = storage.read_bytes(archive.changed[0])
    uris = [str(tmp_path / "archive" / name) for name in ("a.dcm", "b.dcm")]
    for uri in uris:
        storage.write_bytes(uri, body)
    write_predictions(str(tmp_path / "p" / "a.parquet"), [prediction(uri, REGIONS["skull"]) for uri in uris])
    config = settings(str(tmp_path / "p"), tmp_path / "out")
    run_relabel(config)
    urls = {row["url"] for row in written(config, "copy").values()}
    assert urls == set(contents(config.copies))
    assert len(urls) == 1


def test_copies_under_the_old_uid_give_way_to_copies_under_new_ones(archive, tmp_path):
    uri = archive.changed[0]
    write_predictions(str(tmp_path / "p" / "a.parquet"), [prediction(uri, REGIONS["skull"])])
    config = settings(str(tmp_path / "p"), tmp_path / "out", sr=None, same_uid=True)
    run_relabel(config)
    same = read(written(config)[uri])
    assert (same.SOPInstanceUID, same.SeriesInstanceUID) == tuple(
        pydicom.dcmread(uri)[name].value for name in ("SOPInstanceUID", "SeriesInstanceUID")
    )
    run_relabel(RelabelConfig(**{**vars(config), "same_uid": False, "reject": True}))
    kinds = {row["kind"] for row in all_written(config)}
    assert kinds == {"copy", "rejection"}
    note = read(written(config, "rejection")[uri])
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == same.SOPInstanceUID
    said = next(
        item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT" and "Replaced" in item.TextValue
    )
    assert written(config, "copy")[uri]["sop_instance_uid"] in said
    assert len(contents(config.copies)) == 2


@pytest.mark.parametrize("option", ["copies", "sr"])
@pytest.mark.parametrize("place", ["", "/corrected", "/../archive/x", "/..", "link", "link/corrected"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_is_written_into_the_archive(archive, tmp_path, option, place, dry_run):
    if place.startswith("link"):
        (tmp_path / "link").symlink_to(archive.archive)
    url = str(tmp_path / place) if place.startswith("link") else archive.archive + place
    names = {"output": str(tmp_path / "labels"), option: url, "dry_run": dry_run}
    config = RelabelConfig(predictions=archive.predictions, **names)
    before = contents(archive.archive)
    for refused in (config.check, lambda: run_relabel(config)):
        with pytest.raises(ConfigError, match="the archive.*, which is never written to"):
            refused()
    assert contents(archive.archive) == before
    assert not Path(archive.archive, "corrected").exists()
    assert contents(names["output"]) == {}


def recorded(tmp_path, archive, uris):
    """Predictions beside the listing of an archive that they were made from."""
    rows = [prediction(uri, REGIONS["skull"]) for uri in uris]
    write_predictions(f"{tmp_path}/p/a.parquet", rows)
    storage.write_json(f"{tmp_path}/p/_manifest/0000/done.json", {"archive": archive, "objects": len(uris)})
    return f"{tmp_path}/p"


BUCKET = "s3://export"


@pytest.mark.parametrize(
    ("archive", "copies", "refused"),
    [
        (f"{BUCKET}/2024", f"{BUCKET}/2024/copies", True),
        (f"{BUCKET}/2024", "s3a://export/2024/copies/", True),
        (f"{BUCKET}/2024", BUCKET, True),
        (f"{BUCKET}/2024", f"{BUCKET}/2024-copies", False),
        (f"{BUCKET}/2024", f"{BUCKET}/copies", False),
        (BUCKET, f"{BUCKET}/copies", True),
        ("s3://lists/2024.csv", f"{BUCKET}/2024/a/copies", True),
        ("s3://lists/2024.csv", f"{BUCKET}/2024/a", True),
        ("s3://lists/2024.csv", f"{BUCKET}/2024", True),
        ("s3://lists/2024.csv", f"{BUCKET}/2024/copies", False),
        (None, f"{BUCKET}/2024/copies", True),
        (None, f"{BUCKET}/copies", False),
    ],
)
def test_where_copies_may_lie_beside_an_archive(tmp_path, archive, copies, refused):
    uris = [f"{BUCKET}/2024/a/1.dcm", f"{BUCKET}/2024/b/export.zip::a/2.dcm", f"{BUCKET}/2024/c/3.dcm#frame=2", "feed"]
    predictions = recorded(tmp_path, archive, uris)
    if archive is None:
        storage.remove(f"{predictions}/_manifest")
    config = RelabelConfig(predictions=predictions, output=str(tmp_path / "out"), copies=copies)
    if refused:
        with pytest.raises(ConfigError, match="the archive.*, which is never written to"):
            check_outside_archive(config)
    else:
        check_outside_archive(config)


def test_tables_and_summary_hold_no_identity(archive, config):
    summary = run_relabel(config)
    shown = str(summary) + str([{**row, "uri": "", "url": ""} for row in written(config).values()])
    for uri in archive.changed[:10]:
        header = pydicom.dcmread(uri, stop_before_pixels=True)
        for word in (str(header.PatientName).split("^")[0], header.PatientID, header.SOPInstanceUID):
            assert str(word) not in shown
            assert not any(str(word) in path for path in contents(config.copies))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"same_uid": True, "stow": "http://pacs/dicom-web"}, "never sends copies under their old UID"),
        ({"same_uid": True, "reject": True}, "--reject would reject the copies of --same-uid"),
        ({"copies": None, "same_uid": True}, "--same-uid is about copies"),
        ({"copies": None, "reject": True}, "--reject is about objects that copies replace"),
        ({"copies": None, "sr": None, "stow": "http://pacs/dicom-web"}, "set one of them"),
        ({"stow": "pacs:104"}, "set an http:// or https:// URL"),
        ({"stow": "https://me:secret@pacs/dicom-web"}, "set RADRAY_STOW_USER"),
        ({"stow_mib": 0.0}, "--stow-mib is 0.0"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    given = {"predictions": "p", "output": "o", "copies": "c", "sr": "s", **options}
    with pytest.raises(ConfigError, match=message):
        RelabelConfig(**given)


def test_a_region_without_a_name_in_dicom_is_refused_before_any_work(archive, tmp_path):
    row = prediction(archive.changed[0], REGIONS["skull"]) | {"region": "thoracolumbar", "code": "1"}
    write_predictions(str(tmp_path / "p" / "a.parquet"), [row])
    with pytest.raises(ConfigError, match="'thoracolumbar' .* give its class list by --regions"):
        run_relabel(settings(str(tmp_path / "p"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_class_list_of_the_site_names_its_regions(archive, tmp_path):
    uri = archive.changed[0]
    row = prediction(uri, REGIONS["skull"]) | {"region": "thoracolumbar", "code": "1217256009"}
    write_predictions(str(tmp_path / "p" / "a.parquet"), [row])
    own = {"name": "thoracolumbar", "title": "thoracolumbar spine", "snomed_code": "1217256009"}
    own |= {"snomed_meaning": "Thoraco-lumbar spine", "body_part_examined": "TLSPINE", "paired": False}
    regions = tmp_path / "regions.json"
    regions.write_text(json.dumps({"name": "own", "regions": ["knee", own | {"synonyms": ["BWS/LWS"]}]}))
    config = settings(str(tmp_path / "p"), tmp_path / "out", regions=str(regions))
    config.check()
    run_relabel(config)
    copy = read(written(config, "copy")[uri])
    assert (copy.BodyPartExamined, copy.AnatomicRegionSequence[0].CodeMeaning) == ("TLSPINE", "Thoraco-lumbar spine")


def test_reports_of_everything_decided_by_choice(archive, tmp_path):
    confirmed, silent = archive.changed[:2]
    rows = [prediction(uri, REGIONS["knee"], header="hand", confidence=0.5) for uri in (confirmed, silent)]
    write_predictions(str(tmp_path / "p" / "a.parquet"), rows)
    append_verdict(tmp_path / "v.csv", Verdict(uri=confirmed, reviewer="ab", verdict="confirm", region="hand"))
    config = settings(str(tmp_path / "p"), tmp_path / "out", verdicts=str(tmp_path / "v.csv"))
    run_relabel(config)
    assert written(config) == {}
    run_relabel(RelabelConfig(**{**vars(config), "sr_of": "decided"}))
    assert [(row["uri"], row["kind"]) for row in all_written(config)] == [(confirmed, "sr")]
    assert REGIONS["hand"].snomed_code in str(read(written(config)[confirmed]))


def test_the_same_folder_for_copies_and_reports_is_refused(archive, tmp_path):
    with pytest.raises(ConfigError, match="name the same folder"):
        settings(archive.predictions, tmp_path, sr=str(tmp_path / "copies")).check()
