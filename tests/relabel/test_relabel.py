import pytest

from radray import storage
from radray.errors import ConfigError
from radray.relabel.config import RelabelConfig
from radray.relabel.stage import run_relabel
from radray.review.verdict_file import append_verdict
from radray.review.verdicts import Verdict
from tests.audit.small_archive import REGIONS, write_small_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_small_archive(tmp_path_factory.mktemp("archive"), count=140)


@pytest.fixture
def config(archive, tmp_path):
    verdicts = tmp_path / "verdicts.csv"
    append_verdict(verdicts, Verdict(uri=archive.uris[0], reviewer="ab", verdict="correct", region="skull"))
    append_verdict(
        verdicts, Verdict(uri=archive.uris[1], reviewer="ab", verdict="out_of_domain", comment='a "photo", no?')
    )
    return RelabelConfig(
        predictions=archive.predictions, verdicts=str(verdicts), output=str(tmp_path / "labels"), min_confidence=0.9
    )


def files(url):
    return {file: storage.read_bytes(file) for file in storage.list_files(url, ".parquet")}


def test_labels_follow_the_policy_and_a_second_run_changes_nothing(config, archive):
    config.check()
    summary = run_relabel(config)
    rows = {row["uri"]: row for row in storage.read_table(config.output).to_pylist()}
    assert summary["rows_in"] == summary["rows_out"] == len(rows) == 140
    assert (rows[archive.uris[0]]["region"], rows[archive.uris[0]]["source"]) == ("skull", "reviewer")
    assert rows[archive.uris[0]]["code"] == REGIONS["skull"].snomed_code
    assert (rows[archive.uris[1]]["region"], rows[archive.uris[1]]["source"]) == (None, "reviewer")
    by_model = [row for row in rows.values() if row["source"] == "model"]
    assert by_model
    assert all(row["confidence"] >= 0.9 and row["bundle"] == "feed" for row in by_model)
    assert all(row["region"] != row["previous"] for row in by_model)
    assert summary["changed"] == sum(row["region"] != row["previous"] for row in rows.values())
    before = files(config.output)
    assert run_relabel(config) == summary
    assert files(config.output) == before


def test_what_reviewers_left_open_is_held_and_counted(config, archive):
    run_relabel(config)
    by_model = [row["uri"] for row in storage.read_table(config.output).to_pylist() if row["source"] == "model"]
    disputed, unsure = by_model[:2]
    headers = {row["uri"]: row["header_label"] for row in storage.read_table(archive.predictions).to_pylist()}
    append_verdict(config.verdicts, Verdict(uri=disputed, reviewer="ab", verdict="correct", region="skull"))
    append_verdict(config.verdicts, Verdict(uri=disputed, reviewer="cd", verdict="correct", region="foot"))
    append_verdict(config.verdicts, Verdict(uri=unsure, reviewer="ab", verdict="unsure"))
    append_verdict(config.verdicts, Verdict(uri=archive.uris[0], reviewer="cd", verdict="unsure"))
    summary = run_relabel(config)
    rows = {row["uri"]: row for row in storage.read_table(config.output).to_pylist()}
    for uri in (disputed, unsure):
        kept = (headers[uri], "header" if headers[uri] else None, None, None)
        assert tuple(rows[uri][name] for name in ("region", "source", "confidence", "bundle")) == kept
    assert (rows[archive.uris[0]]["region"], rows[archive.uris[0]]["source"]) == ("skull", "reviewer")
    assert summary["held"] == {"disputed": 1, "unsure": 1, "against_model": 2}


def test_undo_restores_every_header_label(config, archive):
    run_relabel(config)
    undone = run_relabel(RelabelConfig(predictions=archive.predictions, output=config.output, undo=True))
    assert undone["restored"] > 0
    headers = {row["uri"]: row["header_label"] for row in storage.read_table(archive.predictions).to_pylist()}
    rows = storage.read_table(config.output).to_pylist()
    assert {row["uri"]: row["region"] for row in rows} == headers
    assert {row["source"] for row in rows} == {"header", None}


def test_dry_run_counts_and_writes_nothing(config):
    dry = RelabelConfig(**{**vars(config), "dry_run": True})
    summary = run_relabel(dry)
    assert summary["changed"] > 0
    assert files(config.output) == {}
    assert run_relabel(config) == {**summary, "dry_run": False}


def test_bad_verdicts_are_refused_in_one_line(archive, tmp_path):
    bad = tmp_path / "verdicts.csv"
    config = RelabelConfig(predictions=archive.predictions, verdicts=str(bad), output=str(tmp_path / "labels"))
    for body, message in (
        ("uri,reviewer\nx,y\n", "column 'verdict' is missing"),
        ("uri,reviewer,verdict,region\nx,y,maybe,\n", "line 2: verdict 'maybe' is unknown"),
        ("uri,reviewer,verdict,region\nx,y,correct,tail\n", "region 'tail' is in no class list"),
    ):
        bad.write_text(body)
        with pytest.raises(ConfigError, match=message):
            run_relabel(config)


def test_undo_without_labels_is_refused(archive, tmp_path):
    with pytest.raises(ConfigError, match="no labels are in --output"):
        RelabelConfig(predictions=archive.predictions, output=str(tmp_path / "none"), undo=True).check()
