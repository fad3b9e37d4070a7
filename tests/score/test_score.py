"""Scoring a tiny archive on a real cluster: every object a row, once; nothing is done twice; bundles side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pydicom
import pytest
import torch

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.ensemble import Bundle
from radray.ensemble.pose import POSES, TURNS, Pose, turn_back
from radray.errors import BundleError, ConfigError, ObjectError, Reason
from radray.images.prepare import prepare_image
from radray.index.labels import parse_labels
from radray.index.manifest import ensure_manifest
from radray.probe.logistic import fit_heads
from radray.score import rows
from radray.score.config import ScoreConfig
from radray.score.limits import Limited
from radray.score.rows import PREPARED_SCHEMA, PredictRows, PrepareRows, ScoreRows
from radray.score.versions import latest_predictions
from radray.tables import INDEX_SCHEMA
from tests.score.small_archive import write_archive, write_bundle, write_dicom


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "archive")


def config(archive: Path, tmp_path: Path) -> ScoreConfig:
    """Of that archive."""
    return ScoreConfig(
        archive=str(archive),
        bundle=str(tmp_path / "bundle"),
        output=str(tmp_path / "predictions"),
        patient_key="none",
        rows_per_block=3,
        max_workers=1,
    )


def score_rows(bundle: Bundle, tmp_path: Path, headers: dict[str, Any] | None, **predict: Any) -> ScoreRows:
    """A worker with the bundle that lies in `tmp_path`."""
    return ScoreRows(
        prepare={"cleaning": bundle.cleaning, "headers": headers},
        predict={"bundle": str(tmp_path / "bundle"), "digest": bundle.digest, **predict},
    )


@pytest.mark.usefixtures("ray_cluster")
def test_every_object_gets_one_row_and_a_second_run_does_nothing(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from radray.score.stage import run_score

    bundle = write_bundle(str(tmp_path / "bundle"))
    job = config(archive, tmp_path)
    job.check()
    summary = run_score(job)
    assert summary["rows_in"] == summary["rows_out"] == 8
    assert summary["by_status"]["ok"] == 5
    assert summary["by_reason"]["not_radiograph"] == 1
    assert summary["by_reason"]["not_dicom"] == 1
    assert summary["bundle"] == bundle.digest

    table = pd.read_parquet(latest_predictions(job.output))
    assert table["uri"].is_unique
    assert len(table) == 8
    good = table[table["status"] == "ok"]
    np.testing.assert_allclose(np.stack(good["probabilities"]).sum(axis=1), 1, atol=1e-4)
    assert list(good["code"]) == [bundle.regions[name].snomed_code for name in good["region"]]
    compared = good[good["header_label"].notna()]
    assert len(compared) == 4
    assert (compared["agrees"] == (compared["header_label"] == compared["region"])).all()
    assert table[table["status"] != "ok"]["region"].isna().all()
    assert not table.astype(str).apply(lambda column: column.str.contains("Mustermann")).any().any()

    capsys.readouterr()
    assert run_score(job) == {**summary, "scored": 0}
    assert "nothing to do" in capsys.readouterr().err

    with pytest.raises(ConfigError, match="--gpus-per-worker is 0.5 but the cluster has no GPU"):
        run_score(replace(job, gpus_per_worker=0.5))
    other = write_bundle(str(tmp_path / "bundle"), seed=1)
    newer = run_score(job)
    assert newer["folder"] != summary["folder"]
    assert set(pd.read_parquet(latest_predictions(job.output))["bundle"]) == {other.digest}
    assert len(pd.read_parquet(summary["folder"])) == 8


def write_secret(tmp_path: Path) -> Path:
    """A file with a site's secret."""
    place = tmp_path / "secret"
    place.write_text("0123456789abcdef" * 2)
    return place


def read_headers(bundle: Bundle, archive: Path) -> dict[str, Any]:
    """How a worker reads headers."""
    return {
        "reader": HeaderReader(regions=bundle.regions, pseudonyms=Pseudonyms(None)),
        "labels": parse_labels("header", str(archive), bundle.regions),
        "header_bytes": 4096,
    }


def test_rows_are_the_same_in_any_company(archive: Path, tmp_path: Path) -> None:
    bundle = write_bundle(str(tmp_path / "bundle"))
    headers = read_headers(bundle, archive)
    worker = score_rows(bundle, tmp_path, headers, batch=2)
    listing = storage.read_table(ensure_manifest(str(archive), str(tmp_path / "listing")).url)
    whole = worker(listing).to_pylist()
    alone = [worker(listing.slice(row, 1)).to_pylist()[0] for row in range(len(listing))]
    for together, single in zip(whole, alone, strict=True):
        assert together["region"] == single["region"]
        assert together["reason"] == single["reason"]
        if together["probabilities"]:
            np.testing.assert_allclose(together["probabilities"], single["probabilities"], atol=1e-5)


def test_rows_are_the_same_in_two_processes_and_nearly_so_at_half_precision(archive: Path, tmp_path: Path) -> None:
    bundle = write_bundle(str(tmp_path / "bundle"))
    headers = read_headers(bundle, archive)
    listing = storage.read_table(ensure_manifest(str(archive), str(tmp_path / "listing")).url)
    expected = score_rows(bundle, tmp_path, headers)(listing)
    prepared = PrepareRows(cleaning=bundle.cleaning, headers=headers)(listing)
    assert prepared.schema.equals(PREPARED_SCHEMA)
    place = {"bundle": str(tmp_path / "bundle"), "digest": bundle.digest}
    assert PredictRows(**place)(prepared).equals(expected)
    halved = PredictRows(**place, precision="bfloat16")(prepared)
    for name in ("uri", "status", "reason", "header_label"):
        assert halved.column(name).equals(expected.column(name))
    for half, whole in zip(halved.to_pylist(), expected.to_pylist(), strict=True):
        if whole["probabilities"]:
            np.testing.assert_allclose(half["probabilities"], whole["probabilities"], atol=0.02)
            assert half["probabilities"] != whole["probabilities"], "it computes otherwise"


def test_what_kills_its_reader_has_a_row_in_either_process(archive: Path, tmp_path: Path) -> None:
    bundle = write_bundle(str(tmp_path / "bundle"))
    headers = read_headers(bundle, archive) | {"hash_keys": False}
    listing = storage.read_table(ensure_manifest(str(archive), str(tmp_path / "listing")).url).slice(0, 1)
    parts = {
        "prepare": {"cleaning": bundle.cleaning, "headers": headers},
        "predict": {"bundle": str(tmp_path / "bundle"), "digest": bundle.digest},
    }
    limited = Limited(transform=ScoreRows, arguments=parts, hours=None, allowance=None)
    both = limited.give_up(listing).to_pylist()
    prepared = PrepareRows(**parts["prepare"])(listing)
    predicted = PredictRows(**parts["predict"]).give_up(prepared).to_pylist()
    for (row,) in (both, predicted):
        assert (row["status"], row["reason"], row["region"]) == ("failed", "decoder_crashed", None)
        assert row["uri"] == listing["uri"][0].as_py() and row["row_id"] == listing["row_id"][0].as_py()


def test_bodies_come_in_order_and_few_at_a_time(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, ahead = 0, []

    def fetch(uri: str, **_: object) -> bytes:
        ahead.append(int(uri) - taken)
        if int(uri) % 7 == 3:
            raise ObjectError(Reason.FETCH_FAILED, uri)
        return uri.encode()

    monkeypatch.setattr(rows, "fetch", fetch)
    monkeypatch.setattr(rows, "prepare_image", lambda body, *_, **__: {"status": "ok", "message": body.decode()})
    objects = [{"uri": str(number), "etag": "", "size": 1, "burned_in_annotation": None} for number in range(100)]
    for image in rows.CleanedImages(CleaningConfig())(objects):
        assert image["message"] == str(taken)
        assert image["status"] == ("failed" if taken % 7 == 3 else "ok")
        taken += 1
    # The one in hand and seven behind it.
    assert taken == 100 and max(ahead) == rows._FETCHES - 1
    taken, large = 0, [{**each, "size": rows._FETCHED_BYTES // 2} for each in objects]
    ahead.clear()
    for _ in rows.CleanedImages(CleaningConfig())(large):
        taken += 1
    assert taken == 100 and max(ahead) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_shall_not_tell_urls_lie_apart_from_the_listing(archive: Path, tmp_path: Path) -> None:
    from radray.score.stage import run_score

    write_bundle(str(tmp_path / "bundle"))
    summary = run_score(replace(config(archive, tmp_path), key="hash", patient_key=f"file:{write_secret(tmp_path)}"))
    assert summary["rows_out"] == 8
    for path in Path(summary["folder"]).rglob("*"):
        assert path.is_dir() or str(archive).encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert str(archive) not in str(storage.read_table(str(path)).to_pydict())


@pytest.mark.usefixtures("ray_cluster")
def test_what_failed_is_scored_again_where_that_is_asked_for(archive: Path, tmp_path: Path) -> None:
    from radray.score.stage import run_score

    write_bundle(str(tmp_path / "bundle"))
    job = config(archive, tmp_path)
    first = run_score(job)
    failed = first["by_status"]["failed"]
    before = pd.read_parquet(first["folder"]).set_index("uri")
    again = run_score(replace(job, retry_failed=True))
    assert again["scored"] == failed > 0
    after = pd.read_parquet(again["folder"]).set_index("uri")
    assert set(after.index) == set(before.index) and len(after) == len(before)
    assert (after["reason"].fillna("") == before["reason"].fillna("").reindex(after.index)).all()


def test_inverted_grey_values_are_found_and_put_right(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(8):
        write_dicom(folder / f"{number}.dcm", number, "KNEE")
    bundle = write_bundle(str(tmp_path / "bundle"))
    bodies = [(folder / f"{number}.dcm").read_bytes() for number in range(8)]
    features = []
    for inverted in (False, True):
        prepared = [prepare_image(body, bundle.cleaning, inverted=inverted)["image"] for body in bodies]
        pixels = torch.from_numpy(np.stack([np.frombuffer(image, np.uint8).reshape(32, 32) for image in prepared]))
        posed = [turn_back(pixels, -turn) for turn in range(1 if inverted else TURNS)]
        features += [bundle.members[0].standardise(own) for some in posed for own in bundle.features(some)]
    poses = torch.arange(POSES).repeat_interleave(8)
    head = fit_heads(torch.cat(features), poses, torch.ones(1, len(poses)), torch.tensor([1e-3]), POSES)
    bundle.pose = Pose(method="simclr", weight=head.weight[0], bias=head.bias[0], temperature=1.0)
    bundle.save(str(tmp_path / "bundle"))

    odd = pydicom.dcmread(folder / "3.dcm")
    odd.PixelData = (4095 - odd.pixel_array).astype("<u2").tobytes()
    odd.save_as(folder / "3.dcm")
    odd = pydicom.dcmread(folder / "5.dcm")
    odd.PixelData = np.rot90(odd.pixel_array).astype("<u2").tobytes()
    odd.Rows, odd.Columns = odd.Columns, odd.Rows
    odd.save_as(folder / "5.dcm")
    index = pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(field.name for field in INDEX_SCHEMA),
                "key": str(folder / f"{number}.dcm"),
                "uri": str(folder / f"{number}.dcm"),
                "row_id": number,
                "status": "ok",
            }
            for number in range(8)
        ],
        schema=INDEX_SCHEMA,
    )
    made = score_rows(bundle, tmp_path, headers=None)(index).to_pylist()
    assert [row["inverted"] for row in made] == [number == 3 for number in range(8)]
    # A bar looks much the same after a quarter turn either way.
    assert [row["turned_deg"] % 180 for row in made] == [90 * (number == 5) for number in range(8)]
    upright = prepare_image(bodies[3], bundle.cleaning)["image"]
    expected = bundle.predict(np.frombuffer(upright, np.uint8).reshape(1, 32, 32)).probabilities[0]
    np.testing.assert_allclose(made[3]["probabilities"], expected, atol=0.02)


def test_a_bundle_that_changes_under_way_is_refused(tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "bundle"))
    with pytest.raises(BundleError, match="changed while the run was under way"):
        PredictRows(bundle=str(tmp_path / "bundle"), digest="another")


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either --archive or --index"):
        ScoreConfig(bundle="b", output="o")
    with pytest.raises(ConfigError, match="--batch is 0"):
        ScoreConfig(archive="a", bundle="b", output="o", batch=0)
    with pytest.raises(ConfigError, match="--gpus-per-worker is 2"):
        ScoreConfig(archive="a", bundle="b", output="o", gpus_per_worker=2)
    with pytest.raises(ConfigError, match="--bundle"):
        ScoreConfig(archive=str(tmp_path), bundle=str(tmp_path / "none"), output=str(tmp_path / "o")).check()
    with pytest.raises(ConfigError, match="run jobs/score.py"):
        latest_predictions(str(tmp_path))
