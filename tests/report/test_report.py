import dataclasses
import re

import cv2
import numpy as np
import pytest

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.stage import run_audit
from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.journal import Journal
from radray.pretrain.recipes import cpu_demo
from radray.pretrain.run import save_run
from radray.report.config import ReportConfig
from radray.report.stage import run_report
from radray.report.trust_figures import reliability_bins, risk_coverage
from tests.audit.small_archive import write_small_archive
from tests.report.small_probe import add_probe_tables

HOSTILE = "<script>alert(1)</script>"


def write_run(url):
    """A folder with one run as jobs/pretrain.py leaves it: two logged steps."""
    place = storage.join(url, "simclr")
    recipe = dataclasses.asdict(cpu_demo())
    document = {"method": "simclr", "seed": 0, "regions": [], "budget": "none", "recipe": recipe, "samples": 900}
    document |= {"labelled": 850, "steps": 60, "loss": 2.5, "knn_accuracy": 0.625}
    save_run(place, Backbone("resnet10", 64), None, document)
    journal = Journal(place)
    for position, loss in ((640, 3.5), (3840, 2.5)):
        journal.add({"step": position // 64, "position": position, "epoch": position / 900, "loss": loss})
    return url


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    archive = write_small_archive(folder, station=HOSTILE)
    add_probe_tables(archive)
    findings = str(folder / "findings")
    run_audit(AuditConfig(predictions=archive.predictions, images=archive.images, probe=archive.probe, output=findings))
    return archive, findings


@pytest.fixture(scope="module")
def report(archive, tmp_path_factory):
    tables, findings = archive
    config = ReportConfig(
        output=str(tmp_path_factory.mktemp("report")),
        images=tables.images,
        runs=(write_run(str(tmp_path_factory.mktemp("runs"))),),
        probe=tables.probe,
        predictions=tables.predictions,
        findings=findings,
        title=HOSTILE,
    )
    config.check()
    summary = run_report(config)
    return config, summary, storage.read_bytes(summary["report"]).decode()


def test_the_page_loads_nothing_and_escapes_every_text(report):
    _, _, page = report
    assert "http://" not in page
    assert "https://" not in page
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', page))
    assert page.count("<img") > 20
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


def test_all_sections_stand_and_the_page_says_what_it_is_not(report):
    _, summary, page = report
    assert len(summary["sections"]) == 5
    assert "Not a medical device" in page
    assert "95.0 %" in page
    assert "+15.0 (+10.0 to +20.0)" in page and "station: 007" not in page  # drawn, not written
    assert any("--index" in line for line in summary["left_out"])
    assert "no --index was given" in page


def test_every_figure_has_its_numbers_beside_it(report):
    config, _, _ = report
    figures = {file.rsplit("/", 1)[-1][:-4] for file in storage.list_files(storage.join(config.output, "figures"))}
    tables = {file.rsplit("/", 1)[-1][:-4] for file in storage.list_files(storage.join(config.output, "tables"))}
    assert {
        "label_budgets",
        "confusion",
        "by_region",
        "reliability",
        "risk_coverage",
        "suspects",
        "map",
        "subgroups",
    } <= figures
    assert figures - tables == {"cleaned", "views"}  # pictures


@pytest.mark.parametrize("stage", ["images", "probe", "predictions", "findings"])
def test_one_stage_alone_makes_a_page_that_names_the_others(archive, tmp_path, stage):
    tables, findings = archive
    url = findings if stage == "findings" else getattr(tables, stage)
    summary = run_report(ReportConfig(output=str(tmp_path), **{stage: url}))
    page = storage.read_bytes(summary["report"]).decode()
    for other in {"images", "probe", "predictions", "findings"} - {stage}:
        assert f"no --{other} was given" in page


def test_nothing_to_report_is_refused():
    with pytest.raises(ConfigError, match="give one or more of --index"):
        ReportConfig(output="x")


def test_risk_falls_with_coverage_where_confidence_is_right():
    confidence = np.linspace(0.5, 1, 400)
    right = np.random.default_rng(0).random(400) < confidence
    curve = risk_coverage(confidence, right)
    assert curve[-1]["coverage"] == 1
    assert curve[-1]["risk"] == pytest.approx((~right).mean())
    assert curve[len(curve) // 3]["risk"] < curve[-1]["risk"]
    bins = reliability_bins(confidence, right)
    assert sum(row["images"] for row in bins) == 400
    assert max(abs(row["confidence"] - row["accuracy"]) for row in bins) < 0.2


def test_the_training_tells_its_runs_and_shows_the_views(report):
    config, summary, page = report
    assert "Training" in summary["sections"] and "resnet10, 64 px" in page and "62.5%" in page
    rows = storage.read_bytes(storage.join(config.output, "tables", "training.csv")).decode().splitlines()
    assert rows[0].startswith("method,epoch,loss") and len(rows) == 3
    picture = cv2.imdecode(
        np.frombuffer(storage.read_bytes(storage.join(config.output, "figures", "views.png")), np.uint8), 0
    )
    assert picture.shape[1] > 1000 and picture.std() > 20
