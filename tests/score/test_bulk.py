"""A part of an archive today, all of it tomorrow, what changed the day after: one version, nothing scored twice."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from radray import storage
from radray.errors import ConfigError
from radray.score.config import ScoreConfig
from radray.score.counts import describe
from radray.score.selection import Selection
from radray.score.versions import finished, latest_predictions, mark_finished
from tests.score.small_archive import write_archive, write_bundle, write_dicom

DAY_ONE = 3


@dataclass(frozen=True, kw_only=True)
class Story:
    """What three runs left behind."""

    job: ScoreConfig
    first: dict[str, Any]
    first_rows: pd.DataFrame
    second: dict[str, Any]
    second_rows: pd.DataFrame
    third: dict[str, Any]
    rows: pd.DataFrame
    csv: Path
    regions: tuple[str, ...]


@pytest.fixture(scope="module")
def story(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """`--limit 3`; then everything; then one object gone, one changed, one new."""
    from radray.score.stage import run_score

    place = tmp_path_factory.mktemp("bulk")
    archive = write_archive(place / "archive")
    bundle = write_bundle(str(place / "bundle"))
    job = ScoreConfig(
        archive=str(archive),
        bundle=str(place / "bundle"),
        output=str(place / "predictions"),
        patient_key="none",
        rows_per_block=3,
        max_workers=1,
    )
    first = run_score(replace(job, limit=DAY_ONE))
    first_rows = pd.read_parquet(first["folder"])
    second = run_score(job)
    second_rows = pd.read_parquet(second["folder"])
    (archive / "notes.txt").unlink()
    write_dicom(archive / "deep" / "0.dcm", 7, "HAND")
    write_dicom(archive / "=new,\n.dcm", 8, "HAND")
    third = run_score(replace(job, csv=str(place / "all.csv")))
    rows = pd.read_parquet(third["folder"])
    return Story(
        job=job, first=first, first_rows=first_rows, second=second, second_rows=second_rows, third=third, rows=rows,
        csv=place / "all.csv", regions=bundle.regions.names,
    )  # fmt: skip


def test_a_part_and_then_the_rest_are_one_version(story: Story) -> None:
    assert (story.first["rows_in"], story.first["rows_out"], story.first["scored"]) == (DAY_ONE, DAY_ONE, DAY_ONE)
    assert not story.first["complete"] and story.first["listed"] == 8
    assert story.second["folder"] == story.first["folder"]
    assert (story.second["rows_in"], story.second["rows_out"], story.second["scored"]) == (8, 8, 8 - DAY_ONE)
    assert story.second["complete"]
    assert story.second_rows["row_id"].is_unique
    assert set(story.first_rows["row_id"]) < set(story.second_rows["row_id"])


def test_the_archives_changes_are_taken_up(story: Story) -> None:
    assert (story.third["rows_in"], story.third["rows_out"], story.third["scored"]) == (8, 8, 2)
    uris = [Path(uri).name for uri in story.rows["uri"]]
    assert Counter(uris) == Counter(["0.dcm", "1.dcm", "2.dcm", "3.dcm", "4.dcm", "slice", "short.dcm", "=new,\n.dcm"])
    before = set(story.second_rows["row_id"])
    assert {Path(row.uri).name for row in story.rows.itertuples() if row.row_id not in before} == {
        "0.dcm",
        "=new,\n.dcm",
    }


def test_success_is_there_with_counts(story: Story) -> None:
    facts = json.loads((Path(story.third["folder"]) / "_SUCCESS").read_text())
    assert facts["rows"] == 8 and facts["complete"]
    assert facts["by_status"] == story.third["by_status"]
    assert facts["by_reason"] == story.third["by_reason"]
    assert facts["bundle"] == story.third["bundle"] and facts["version"] == story.third["version"]
    assert facts["rows_per_s"] > 0


def test_success_is_gone_while_a_run_is_under_way(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from radray.score import stage

    def broken(*_: object, **__: object) -> int:
        assert finished(story.third["folder"]) is None
        raise InterruptedError

    success = Path(story.third["folder"]) / "_SUCCESS"
    held, fresh = success.read_bytes(), Path(str(story.job.archive)) / "late.dcm"
    monkeypatch.setattr(stage.streaming, "run", broken)
    write_dicom(fresh, 9, "KNEE")
    try:
        with pytest.raises(InterruptedError):
            stage.run_score(story.job)
        assert not success.exists()
    finally:
        fresh.unlink()
        success.write_bytes(held)


def test_csv_has_every_row_and_no_formula(story: Story) -> None:
    with story.csv.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert story.third["csv_rows"] == len(lines) == 8
    assert Counter(line["uri"] for line in lines) == Counter(story.rows["uri"])
    assert not any(str(cell).startswith(("=", "+", "@", "\t")) for line in lines for cell in line.values())
    held = {row.uri: row for row in story.rows.itertuples()}
    for line in lines:
        row = held[line["uri"]]
        assert line["region"] == (row.region if row.status == "ok" else "")
        if row.status == "ok":
            assert [float(line[f"probability_{name}"]) for name in story.regions] == pytest.approx(
                list(row.probabilities)
            )
            assert line["region_simclr"] == row.region
            assert line["abstained"] in ("true", "false")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_made_harmless(text: str, tmp_path: Path) -> None:
    from radray.score.csv_export import write_csv
    from radray.tables import predictions_schema

    row = {"uri": text, "status": "ok", "station": text, "ood_score": -0.5, "member_regions": [("m", text)]}
    names = predictions_schema(1).names
    table = pa.Table.from_pylist([{**dict.fromkeys(names), **row}], schema=predictions_schema(1))
    storage.write_table(str(tmp_path / "rows.parquet"), table)
    assert write_csv(str(tmp_path), str(tmp_path / "out.csv"), regions=["knee"], methods=["m"]) == 1
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        line = next(csv.DictReader(file))
    assert line["uri"] == line["station"] == line["region_m"] == f"'{text}"
    assert float(line["ood_score"]) == -0.5, "a number is no formula"


def test_csv_on_a_store_is_there_when_it_is_whole(s3: str) -> None:
    with storage.open_output(f"{s3}/whole.csv") as stream:
        stream.write(b"a" * 100)
    assert storage.read_bytes(f"{s3}/whole.csv") == b"a" * 100
    with pytest.raises(InterruptedError), storage.open_output(f"{s3}/half.csv") as stream:
        stream.write(b"a" * 100)
        raise InterruptedError
    assert not storage.exists(f"{s3}/half.csv")


def test_duckdb_pandas_and_ray_read_it_as_it_is(story: Story) -> None:
    import duckdb
    import ray.data

    folder = story.third["folder"]
    everything = f"read_parquet('{story.job.output}/*/*.parquet')"
    rows = duckdb.sql(f"SELECT version, count(*), count(DISTINCT row_id) FROM {everything} GROUP BY 1").fetchall()
    assert rows == [(story.third["version"].split("=")[1], 8, 8)]
    found = duckdb.sql(f"SELECT uri, probabilities[1] AS first FROM '{folder}/*.parquet' WHERE status = 'ok'").df()
    assert len(found) == story.third["by_status"]["ok"] and found["first"].notna().all()
    assert len(pd.read_parquet(folder)) == 8
    assert ray.data.read_parquet(folder).count() == 8


def test_where_chooses_by_index_and_others_stay(story: Story) -> None:
    rows = pa.table(
        {"row_id": pa.array(range(-5, 5), pa.int64()), "modality": ["DX", "CR"] * 5, "study_year": list(range(10))}
    )
    from radray.score.where import parse_where

    chosen = Selection(where=parse_where("modality == 'DX' and study_year > 2", rows.schema), limit=2)
    parts = list(chosen.choose([rows.slice(0, 5), rows.slice(5)]))
    assert [number for part in parts for number in part["study_year"].to_pylist()] == [4, 6]


def test_samples_are_shares_and_nested() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"row_id": rng.integers(-(2**63), 2**63 - 1, 20_000)})
    drawn = {}
    for share in (0.01, 0.1, 0.5, 1.0):
        parts = list(Selection(sample=share).choose([table.slice(0, 7_000), table.slice(7_000)]))
        drawn[share] = {number for part in parts for number in part["row_id"].to_pylist()}
        assert len(drawn[share]) == pytest.approx(20_000 * share, rel=0.15)
    assert drawn[0.01] < drawn[0.1] < drawn[0.5] < drawn[1.0]


def test_a_selection_of_nothing_is_one_line(story: Story) -> None:
    from radray.score.stage import run_score

    with pytest.raises(ConfigError, match="choose none of the objects"):
        run_score(replace(story.job, where="size > 1000000000"))
    with pytest.raises(ConfigError, match="choose none of the objects"):
        run_score(replace(story.job, where="size > 1000000000", dry_run=True))


def test_a_dry_run_counts_and_writes_nothing(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from radray.score.stage import run_score

    fresh = tmp_path / "not made"
    dry = replace(story.job, output=str(fresh), dry_run=True, max_requests_per_s=2.0, hours="00-12", sample=1.0)
    dry.check()
    found = run_score(dry)
    objects = [path for path in Path(str(dry.archive)).rglob("*") if path.is_file()]
    assert not fresh.exists()
    assert (found["rows_in"], found["to_do"], found["requests"]) == (8, 8, 16)
    first = dry.header_rules().header_bytes
    assert found["bytes"] == sum(path.stat().st_size + min(first, path.stat().st_size) for path in objects)
    assert found["seconds_estimated"] == pytest.approx(16 / 2.0 / 0.5)
    assert "unknown" not in capsys.readouterr().out
    again = run_score(replace(story.job, dry_run=True))
    assert (again["rows_there"], again["to_do"], again["bytes"]) == (8, 0, 0)
    assert again["rows_per_s_measured"] > 0


def test_a_part_does_not_hide_a_whole(tmp_path: Path) -> None:
    def finish(name: str, complete: bool) -> str:
        summary = {
            "version": f"version={name}", "bundle": name, "complete": complete, "rows_out": 1, "listed": 2,
            "by_status": {}, "by_reason": {}, "abstained": 0, "folder": str(tmp_path / f"version={name}"),
        }  # fmt: skip
        mark_finished(str(tmp_path), summary, listing="", rows_per_s=1.0, before=None)
        return latest_predictions(str(tmp_path)).rsplit("=")[-1]

    assert finish("a", complete=False) == "a"
    assert finish("b", complete=False) == "b"
    assert finish("c", complete=True) == "c"
    assert finish("d", complete=False) == "c"
    assert finish("e", complete=True) == "e"


def test_the_table_is_for_people(story: Story) -> None:
    text = "\n".join(describe(story.first))
    assert "5 of them not asked for yet" in text and "3 made now" in text
    assert "not_dicom" in "\n".join(describe(story.second))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": 0.0}, "--sample is 0.0"),
        ({"sample": 1.5}, "--sample is 1.5"),
        ({"limit": 0}, "--limit is 0"),
        ({"max_requests_per_s": 0.0}, "--max-requests-per-s is 0.0"),
        ({"max_bytes_per_s": float("inf")}, "--max-bytes-per-s is inf"),
        ({"hours": "6"}, "--hours is '6'"),
        ({"watch": True, "limit": 3}, "--watch and --limit"),
        ({"watch": True, "dry_run": True}, "--watch and --dry-run"),
        ({"watch_every_s": 0.0}, "--watch-every-s is 0.0"),
        ({"csv": "out.txt"}, "--csv out.txt"),
        ({"csv": "predictions/version=3/x.csv"}, "lies among the Parquet files"),
        ({"csv": "archive/x.csv"}, "lies inside --archive"),
    ],
)
def test_bad_settings_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive").mkdir()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    with pytest.raises(ConfigError, match=said):
        ScoreConfig(
            **{"archive": "archive", "bundle": "bundle", "output": "predictions", "patient_key": "none", **changes}
        ).check()


def test_no_identity_in_what_is_written(story: Story) -> None:
    texts = [story.csv.read_text(), *("\n".join(describe(summary)) for summary in (story.first, story.third))]
    texts += [path.read_text() for path in Path(story.job.output).rglob("*.json")]
    assert not any("Mustermann" in text or "patient-" in text for text in texts)
    assert "Mustermann" not in story.rows.to_csv()
