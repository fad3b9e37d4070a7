"""Every stage in turn, each as its job would run it, and ten lines about what came out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.stage import run_audit
from radray.cleaning.config import CleaningConfig
from radray.demo.config import DemoConfig
from radray.images.budgets import parse_budget
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.index.config import IndexConfig
from radray.index.stage import run_index
from radray.phantom.config import PhantomConfig
from radray.phantom.export import write_phantom
from radray.pretrain.config import MethodName, PretrainConfig
from radray.pretrain.stage import run_all
from radray.probe.config import ProbeConfig
from radray.probe.stage import run_probe
from radray.relabel.config import RelabelConfig
from radray.relabel.stage import run_relabel
from radray.report.config import ReportConfig
from radray.report.stage import run_report
from radray.score.config import ScoreConfig
from radray.score.stage import run_score

METHODS: tuple[MethodName, ...] = ("simclr", "byol", "supcon", "supervised")
LANES: tuple[tuple[MethodName, ...], ...] = (("supervised",), ("simclr", "supcon", "byol"))
"""Trained side by side, each by one process with one thread: that is faster on two cores than one with two threads.

Supervised comes with a network for every draw of few labels and takes as long as the other three.
"""


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Run the demo; return its summary.

    A run that was killed goes on where it stopped when it is started again with the same options.
    """
    at = _Places(config.output)
    summary: dict[str, Any] = {}
    started = time.monotonic()

    def stage(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        begun = time.monotonic()
        print(f"── {name} ({begun - started:.0f} s)", file=sys.stderr, flush=True)
        result = {**run(), "seconds": round(time.monotonic() - begun, 1)}
        summary[name] = result
        return result

    phantom = PhantomConfig(
        output=at.archive, images=config.images, side_px=config.archive_px, seed=config.seed, workers=0
    )
    phantom.check()
    stage("phantom", lambda: write_phantom(phantom))
    stage("index", lambda: run_index(IndexConfig(archive=at.archive, output=at.index, patient_key=_demo_key())))
    cleaning = CleaningConfig(side_px=config.side_px)
    stage("clean", lambda: run_clean(CleanConfig(index=at.index, output=at.images, cleaning=cleaning)))
    stage("pretrain", lambda: _pretrain(config, at))
    probe = ProbeConfig(
        images=at.images,
        runs=tuple(at.run(method) for method in METHODS),
        output=at.probe,
        truth=phantom.truth_url,
        budgets=(*config.budgets, "all"),
        seeds=config.seeds,
        seed=config.seed,
    )
    stage("probe", lambda: run_probe(probe))
    stage("score", lambda: run_score(ScoreConfig(index=at.index, bundle=at.bundle, output=at.scored)))
    audit = AuditConfig(
        predictions=at.scored, images=at.images, probe=at.probe, output=at.findings, truth=phantom.truth_url
    )
    stage("audit", lambda: run_audit(audit))
    stage("relabel", lambda: run_relabel(RelabelConfig(predictions=at.scored, output=at.labels)))
    report = ReportConfig(
        output=config.output,
        index=at.index,
        images=at.images,
        runs=tuple(at.run(method) for method in METHODS),
        probe=at.probe,
        predictions=at.scored,
        findings=at.findings,
        title="The radray demo: a synthetic archive",
    )
    stage("report", lambda: run_report(report))
    for line in describe(summary, storage.locate(config.output).url):
        print(line)
    return {
        "rows_in": summary["phantom"]["rows_out"],
        "rows_out": summary["score"]["rows_out"],
        "by_status": summary["score"]["by_status"],
        "by_reason": summary["score"]["by_reason"],
        "bundle": summary["score"]["bundle"],
        "accuracy": summary["probe"]["accuracy_on_truth"],
        "label_errors": summary["audit"]["label_errors"],
        "out_of_domain_auroc": summary["audit"]["out_of_domain_auroc"],
        "report": storage.join(config.output, "report.html"),
        "stages": summary,
    }


class _Places:
    """Where the demo keeps what."""

    def __init__(self, output: str) -> None:
        self._output = storage.normalise_url(output)
        self.archive, self.index, self.images = self._at("archive"), self._at("index"), self._at("images")
        self.probe, self.scored, self.findings = self._at("probe"), self._at("predictions"), self._at("findings")
        self.labels = self._at("labels")
        self.bundle = storage.join(self.probe, "bundle")

    def _at(self, name: str) -> str:
        return storage.join(self._output, name)

    def run(self, method: str) -> str:
        return storage.join(self._at("runs"), method)


def _demo_key() -> str:
    """The patients are invented, so their key may stand in the code; a hospital's never does."""
    os.environ.setdefault("RADRAY_DEMO_KEY", "the patients of the demo are invented")
    return "env:RADRAY_DEMO_KEY"


def _pretrain(config: DemoConfig, at: _Places) -> dict[str, Any]:
    def settings(method: MethodName) -> PretrainConfig:
        return PretrainConfig(
            images=at.images,
            output=at.run(method),
            method=method,
            recipe=config.recipe,
            side_px=config.side_px,
            epochs=config.epochs,
            budgets=config.budgets if method == "supervised" else (),
            budget_seeds=config.seeds,
            threads=1,
            seed=config.seed,
        )

    with ThreadPoolExecutor(len(LANES)) as pool:
        lanes = list(pool.map(lambda lane: run_all([settings(method) for method in lane]), LANES))
    results = [result for lane in lanes for result in lane]
    return {"rows_in": results[0]["rows_in"], "rows_out": results[0]["rows_out"], "methods": results}


def describe(summary: dict[str, Any], output: str) -> list[str]:
    """The ten closing lines: what went in, what was set aside and why, how well it went, where to look."""
    score, audit = summary["score"], summary["audit"]
    accuracy: dict[str, dict[str, float]] = summary["probe"]["accuracy_on_truth"]
    used = score["by_status"].get("ok", 0)
    aside = ", ".join(f"{count} {reason}" for reason, count in score["by_reason"].items())
    queue = audit["label_errors"]
    budgets = sorted(accuracy["ensemble"], key=_labels_used)
    names = {"all": "all"} | {budget: f"{budget} a region" for budget in budgets if budget != "all"}
    lines = [
        f"Objects in the archive: {score['rows_in']:,}, rows out: {score['rows_out']:,}",
        f"Radiographs used: {used:,}; set aside or unreadable: {score['rows_in'] - used:,} ({aside})",
        "Accuracy on held-out patients, by labels used:   " + "   ".join(f"{names[b]:>12}" for b in budgets),
    ]
    for method, values in accuracy.items():
        cells = [f"{values[b]:12.1%}" if b in values else f"{'–':>12}" for b in budgets]
        lines.append(f"  {method:<46} " + "   ".join(cells))
    lines += [
        f"Wrong labels planted: {queue['planted']}; found among the first {queue['planted']} of the queue: "
        f"{queue['found_in_first_n']}, among the first {2 * queue['planted']}: {queue['found_in_first_2n']} "
        f"(precision {queue['found_in_first_n'] / max(1, queue['planted']):.0%})",
        f"Report: {storage.join(output, 'report.html')}",
    ]
    return lines


def _labels_used(budget: str) -> float:
    kind, size = parse_budget(budget)
    return float("inf") if kind == "all" else size
