import dataclasses

import numpy as np
import pandas as pd
import pytest

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.findings import CHECKS
from radray.audit.stage import run_audit
from radray.errors import ConfigError
from radray.review.checks import LabelChecks
from radray.review.verdict_file import append_verdict
from radray.review.verdicts import Verdict, parse_verdicts
from tests.audit.small_archive import REGIONS, write_small_archive


def findings(config):
    return storage.read_table(storage.join(config.output, "findings.parquet")).to_pylist()


def of(rows, issue):
    return [row for row in rows if row["issue"] == issue]


@pytest.fixture
def audited(tmp_path):
    archive = write_small_archive(tmp_path)
    config = AuditConfig(
        predictions=archive.predictions,
        images=archive.images,
        probe=archive.probe,
        output=str(tmp_path / "findings"),
        controls=25,
        heat_maps=False,
    )
    return archive, config, run_audit(config)


def judge_all(archive, path, rows):
    """A reviewer who knows the truth."""
    true = {uri: REGIONS.names[one] for uri, one in zip(archive.uris, archive.true_classes, strict=True)}
    for row in rows:
        kind = "confirm" if row["label"] == true[row["uri"]] else "correct"
        append_verdict(path, Verdict(uri=row["uri"], reviewer="ab", verdict=kind, region=true[row["uri"]]))
    return {row["uri"] for row in rows}


def judge_first(archive, config, path, count):
    """The first label errors, and all controls."""
    rows = findings(config)
    return judge_all(archive, path, of(rows, "label_error")[:count] + of(rows, "control"))


def test_controls_are_labels_that_are_not_suspected(audited):
    _, config, summary = audited
    rows = findings(config)
    controls, suspected = of(rows, "control"), of(rows, "label_error")
    assert len(controls) == 25 == summary["by_issue"]["control"]
    assert not {row["uri"] for row in controls} & {row["uri"] for row in suspected}
    assert all(row["score"] < config.min_probability for row in controls)
    queue = storage.read_json(storage.join(config.output, "queue.json"))
    assert (queue["suspected"], queue["controls"]) == (len(suspected), 25)


def test_verdicts_put_labels_right_and_the_rest_is_ranked_anew(audited, tmp_path):
    archive, config, summary = audited
    path = tmp_path / "verdicts.csv"
    before = storage.read_json(storage.join(config.output, "queue.json"))
    judged = judge_first(archive, config, path, 15)
    again = run_audit(dataclasses.replace(config, verdicts=str(path)))
    assert again["judged"] == len(judged)
    assert 5 < again["labels_put_right"] <= len(judged)
    assert again["expected_wrong_labels"] < summary["expected_wrong_labels"]
    rows = findings(config)
    errors = of(rows, "label_error")
    fresh = [row for row in errors if row["uri"] not in judged]
    assert [row["rank"] for row in errors] == list(range(1, len(errors) + 1))
    first_judged = next(row["rank"] for row in errors if row["uri"] in judged)
    assert first_judged > sum(row["round"] > 0 for row in fresh), "what is judged comes after what is new"
    assert errors[0]["uri"] not in judged
    assert len(of(rows, "control")) == 25, "controls stay as they were drawn"
    assert storage.read_json(storage.join(config.output, "queue.json")) == before
    assert {row["round"] for row in errors if row["uri"] in judged} == {0}
    assert run_audit(dataclasses.replace(config, verdicts=str(path))) == again
    assert findings(config) == rows, "the same verdicts give the same findings"


def test_what_a_reviewer_called_out_of_domain_has_no_label_any_more(audited, tmp_path):
    _, config, _ = audited
    path = tmp_path / "verdicts.csv"
    first = of(findings(config), "label_error")[0]["uri"]
    append_verdict(path, Verdict(uri=first, reviewer="ab", verdict="out_of_domain"))
    again = run_audit(dataclasses.replace(config, verdicts=str(path)))
    assert (again["judged"], again["labels_put_right"]) == (1, 1)
    assert first not in {row["uri"] for row in of(findings(config), "missing_label")}


def test_a_batch_to_learn_from_is_another_one_and_leaves_controls_and_suspects_alone(audited, tmp_path):
    archive, config, _ = audited
    before = findings(config)
    run_audit(dataclasses.replace(config, next_batch="learn", review_limit=40))
    rows = findings(config)
    batch = of(rows, "to_learn")
    assert len(batch) == 40
    assert {row["uri"] for row in of(rows, "label_error")} == {row["uri"] for row in of(before, "label_error")}
    checks = [row["uri"] for row in rows if row["issue"] in CHECKS]
    assert len(checks) == len(set(checks)), "no image is two checks"
    assert len({row["label"] for row in batch}) >= 7, "spread over the archive"
    path = tmp_path / "verdicts.csv"
    judge_all(archive, path, of(rows, "label_error") + batch + of(rows, "control"))
    labelled = archive.labels >= 0
    right = np.mean(archive.labels[labelled] == archive.true_classes[labelled])
    found = LabelChecks.load(config.output).accuracy(parse_verdicts(path.read_bytes(), "file"))
    assert found["label_accuracy"]["low"] <= right <= found["label_accuracy"]["high"]
    assert 0 <= found["theoretical_accuracy"] <= 1


def test_suspects_of_the_first_round_stay_for_the_estimate(audited, tmp_path):
    archive, config, _ = audited
    first = {row["uri"]: row["score"] for row in of(findings(config), "label_error")}
    path = tmp_path / "verdicts.csv"
    for _ in range(2):
        judge_first(archive, config, path, 10)
        run_audit(dataclasses.replace(config, verdicts=str(path)))
    kept = {row["uri"]: row["score"] for row in of(findings(config), "label_error") if row["round"] == 0}
    assert kept == first


def test_headers_are_held_against_the_model_whatever_reviewers_said(audited, tmp_path):
    archive, config, _ = audited

    def differing() -> int:
        table = pd.read_csv(storage.join(config.output, "disagreement.csv"))
        return int(table[table["fact"] == "station"]["images"].sum())

    before, path = differing(), tmp_path / "verdicts.csv"
    judge_first(archive, config, path, 30)
    run_audit(dataclasses.replace(config, verdicts=str(path)))
    assert differing() > 0.8 * before


def test_verdicts_on_another_archive_or_class_are_refused(audited, tmp_path):
    archive, config, _ = audited
    other, path = tmp_path / "other.csv", tmp_path / "verdicts.csv"
    append_verdict(other, Verdict(uri="/elsewhere", reviewer="ab", verdict="confirm", region="hand"))
    with pytest.raises(ConfigError, match="none of them"):
        run_audit(dataclasses.replace(config, verdicts=str(other)))
    append_verdict(path, Verdict(uri=archive.uris[0], reviewer="ab", verdict="correct", region="tail"))
    with pytest.raises(ConfigError, match="'tail'"):
        run_audit(dataclasses.replace(config, verdicts=str(path)))


def test_heads_fitted_to_better_labels_find_more_of_the_rest(audited, tmp_path):
    archive, config, _ = audited
    from radray.audit.inputs import load_rows
    from radray.audit.judging import judge

    rows = load_rows(config)
    wrong = (archive.labels >= 0) & (archive.labels != archive.true_classes)
    half = wrong & (np.arange(len(wrong)) % 2 == 0)
    better = np.where(half, archive.true_classes, archive.labels)
    rest = wrong & ~half

    def doubt(labels):
        found = judge(rows, labels)
        assert found.sum(axis=1) == pytest.approx(1)
        return 1 - found[np.flatnonzero(rest), archive.labels[rest]].mean()

    assert doubt(better) > doubt(archive.labels) - 0.01
    assert doubt(archive.labels) > 0.5
