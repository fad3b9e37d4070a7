import json

import pytest

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.findings import FINDINGS_SCHEMA
from radray.audit.stage import run_audit
from radray.errors import ConfigError
from tests.audit.small_archive import write_small_archive

HOSTILE = '<script>alert("station")</script>'


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    archive = write_small_archive(folder, station=HOSTILE)
    config = AuditConfig(
        predictions=archive.predictions,
        images=archive.images,
        probe=archive.probe,
        output=str(folder / "findings"),
        heat_maps=False,
        truth=archive.truth,
    )
    config.check()
    return archive, config, run_audit(config)


def test_summary_counts_and_measures(audited):
    archive, _, summary = audited
    assert summary["rows_in"] == len(archive.uris)
    assert summary["rows_out"] == sum(summary["by_issue"].values())
    planted = int(((archive.labels >= 0) & (archive.labels != archive.true_classes)).sum())
    assert summary["label_errors"]["planted"] == planted
    assert summary["label_errors"]["found_in_first_2n"] >= planted / 2
    assert summary["by_issue"]["missing_label"] == int((archive.labels < 0).sum())


def test_findings_are_ranked_scores_with_evidence(audited):
    _, config, summary = audited
    table = storage.read_table(storage.join(config.output, "findings.parquet"))
    assert table.schema.equals(FINDINGS_SCHEMA)
    by_issue = {}
    for row in table.to_pylist():
        by_issue.setdefault(row["issue"], []).append(row)
    assert {issue: len(rows) for issue, rows in by_issue.items()} == {k: n for k, n in summary["by_issue"].items() if n}
    for issue, rows in by_issue.items():
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True) or issue == "control"
        assert 0 <= min(scores) <= max(scores) <= 1
    first = by_issue["label_error"][0]
    assert first["suggested"] != first["label"]
    assert len(json.loads(first["evidence"])["top"]) == 3


def test_a_copy_under_another_patient_is_a_possible_mix_up(audited):
    _, config, _ = audited
    (row,) = [
        row
        for row in storage.read_table(storage.join(config.output, "findings.parquet")).to_pylist()
        if row["issue"] == "near_duplicate" and row["rank"] == 1
    ]
    evidence = json.loads(row["evidence"])
    assert row["uri"] == "/archive/99999.dcm"
    assert evidence["equal_pixels"]
    assert evidence["across_patients"]
    assert row["score"] == 1


def test_header_strings_on_the_page_are_text_and_nothing_is_loaded(audited):
    _, config, _ = audited
    page = storage.read_bytes(storage.join(config.output, "review.html")).decode()
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_second_audit_gives_the_same_findings(audited):
    _, config, summary = audited
    before = storage.read_table(storage.join(config.output, "findings.parquet"))
    assert run_audit(config) == summary
    assert storage.read_table(storage.join(config.output, "findings.parquet")).equals(before)


def test_missing_inputs_are_refused_by_name(audited, tmp_path):
    archive, _, _ = audited
    config = AuditConfig(
        predictions=archive.predictions, images=archive.images, probe=str(tmp_path), output=str(tmp_path / "out")
    )
    with pytest.raises(ConfigError, match="out_of_fold.parquet|bundle.json"):
        config.check()
    with pytest.raises(ConfigError, match="--near-duplicate-bits is 20"):
        AuditConfig(predictions="a", images="b", probe="c", output="d", near_duplicate_bits=20)
