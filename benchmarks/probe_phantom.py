"""What labels, the ensemble and its probabilities are worth on a phantom of 20,000 images, and what wrong labels cost.

Everything is built once in --output and taken as it is when the benchmark runs again: a phantom to learn from, one of
other patients to be measured on, SimCLR and the supervised baseline (with 1 % of the labels too), features, a bundle.

python benchmarks/probe_phantom.py --output FOLDER [--images 20600] [--unseen 5600] [--epochs 12]
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_results, result

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.images.reading import load_images
from radray.images.split import TEST, TRAIN, VALIDATION
from radray.index.config import IndexConfig
from radray.index.stage import run_index
from radray.phantom.config import PhantomConfig
from radray.phantom.export import write_phantom
from radray.phantom.wording import CONFUSIONS
from radray.pretrain.config import PretrainConfig
from radray.pretrain.stage import run_all
from radray.probe import metrics
from radray.probe.cohort import Cohort, read_cohort
from radray.probe.config import ProbeConfig
from radray.probe.members import fit_full
from radray.probe.stage import embed, find_runs, run_probe
from radray.regions import load_regions

SIDE = 512
"""Long side of the objects: cleaned images are far smaller, and twenty thousand larger ones fill a disk."""
FEW = "1%"
KEY = "0123456789abcdef" * 2
"""Pseudonyms of invented patients need no secret."""
NOISE = 0.1


def archive(place: Path, images: int, seed: int) -> str:
    """Draw, index and clean; URL of the images table. The truth lies beside the archive."""
    output = str(place / "archive")
    write_phantom(PhantomConfig(output=output, images=images, side_px=SIDE, seed=seed, workers=0))
    index, table = str(place / "index"), str(place / "images")
    os.environ.setdefault("RADRAY_PATIENT_KEY", KEY)
    run_index(IndexConfig(archive=output, output=index))
    run_clean(CleanConfig(index=index, output=table, cleaning=CleaningConfig()))
    return table


def probe(place: Path, images: str, epochs: float) -> tuple[ProbeConfig, dict[str, Any]]:
    """Train and probe."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    common = {"images": images, "recipe": "cpu_demo", "epochs": epochs, "monitor_epochs": 4.0, "threads": threads}
    run_all(
        [
            PretrainConfig(method="simclr", output=str(place / "runs" / "simclr"), **common),  # type: ignore[arg-type]
            PretrainConfig(
                method="supervised",
                output=str(place / "runs" / "supervised"),
                budgets=(FEW,),
                **common,  # type: ignore[arg-type]
            ),
        ]
    )
    config = ProbeConfig(
        images=images,
        runs=(str(place / "runs"),),
        output=str(place / "probe"),
        truth=str(place / "archive-truth.parquet"),
        budgets=(FEW, "all"),
        seeds=3,
        coverage=0.95,
    )
    return config, run_probe(config)


def few_labels(config: ProbeConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """1 % of the labels: SimCLR against the supervised baseline, on the truth of the test split."""
    with open(storage.locate(storage.join(config.output, "accuracy.csv")).path) as file:
        rows = [row for row in csv.DictReader(file) if row["against"] == "truth" and row["budget"] == FEW]
    found = {
        method: np.array([float(row["accuracy"]) for row in rows if row["method"] == method])
        for method in ("simclr", "supervised", "ensemble")
    }
    for method, own in found.items():
        print(f"{FEW} of the labels, {method:<12}{own.mean():.4f} ± {own.std():.4f}", flush=True)
    own, baseline = float(found["simclr"].mean()), float(found["supervised"].mean())
    yield f"SimCLR, {FEW} of the labels, accuracy", result(round(own, 4), 0.95, round(baseline, 4))
    yield f"SimCLR less supervised, {FEW} of the labels", result(round(own - baseline, 4), 0.15)


def unseen(bundle: Bundle, place: Path, images: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bundle on other patients' images: accuracy, its best member, calibration, and errors at 95 % coverage."""
    table = load_images(images, ("uri", "patient", "study_instance_uid"))
    truth = storage.read_table(str(place / "archive-truth.parquet")).to_pylist()
    known = {row["uri"]: row["region"] for row in truth}
    names = bundle.regions.names
    facts = table.facts.to_pylist()
    labels = np.array([names.index(known[row["uri"]]) if known[row["uri"]] in names else -1 for row in facts])
    judged = labels >= 0
    found = bundle.predict(table.images[judged])
    labels, patients = (
        labels[judged],
        [row["patient"] or row["study_instance_uid"] for row, use in zip(facts, judged, strict=True) if use],
    )
    right = {method: own.argmax(axis=1) == labels for method, own in found.member_probabilities.items()}
    ensemble = found.region == labels
    best = max(right, key=lambda method: right[method].mean())
    low, high = metrics.patient_interval(ensemble.astype(np.int64) - right[best], patients)
    for method, own in right.items():
        print(f"{len(labels):,} images of other patients, {method:<12}{own.mean():.4f}")
    print(f"{len(labels):,} images of other patients, ensemble    {ensemble.mean():.4f}")
    print(f"ensemble less {best}: {ensemble.mean() - right[best].mean():+.4f} ({low:+.4f} to {high:+.4f})")
    error = metrics.debiased_calibration_error(found.probabilities, labels)
    bounds = metrics.calibration_interval(found.probabilities, labels, patients)
    order = np.argsort(-found.confidence, kind="stable")[: int(0.95 * len(labels))]
    kept, every = 1 - ensemble[order].mean(), 1 - ensemble.mean()
    print(f"debiased calibration error {error:.4f} ({bounds[0]:.4f} to {bounds[1]:.4f})")
    print(f"errors {every:.4f}, of the surest 95 % {kept:.4f}", flush=True)
    yield "unseen images", result(len(labels), 5000)
    yield "ensemble, all labels, accuracy", result(round(float(ensemble.mean()), 4), 0.99)
    yield (
        "ensemble less best member",
        result(round(float(ensemble.mean() - right[best].mean()), 4), 0.0, round(float(right[best].mean()), 4)),
    )
    yield "debiased calibration error", result(round(error, 4), 0.02, least=False)
    yield (
        "errors of the surest 95 %, share of all errors' rate",
        result(round(kept / max(every, 1e-9), 3), 0.5, least=False),
    )


def corrupted(cohort: Cohort, realistic: bool) -> torch.Tensor:
    """The true labels of training and validation, a share of them wrong: any other class, or a likely one."""
    assert cohort.truth is not None
    labels = torch.from_numpy(cohort.truth.copy())
    rng = np.random.default_rng(7)
    rows = np.flatnonzero(np.isin(cohort.split, (TRAIN, VALIDATION)) & (cohort.truth >= 0))
    for row in rng.permutation(rows)[: round(NOISE * len(rows))]:
        own = cohort.names[int(labels[row])]
        others = [name for name in cohort.names if name != own]
        likely = [name for name in CONFUSIONS[own] if name in others] if realistic else []
        labels[row] = cohort.names.index(str(rng.choice(likely or others)))
    return labels


def wrong_labels(config: ProbeConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Accuracy on the truth with 10 % of the labels wrong against none wrong, with SimCLR, which saw no label."""
    config = dataclasses.replace(config, runs=(str(Path(config.runs[0]) / "simclr"),))
    cohort = read_cohort(config, load_regions(config.regions))
    embedded, _ = embed(cohort, find_runs(config), config)
    assert cohort.truth is not None
    truth = torch.from_numpy(cohort.truth)
    test = torch.from_numpy((cohort.split == TEST) & (cohort.truth >= 0))
    found = {}
    for name, labels, prune in (
        ("none wrong", truth, True),
        ("symmetric", corrupted(cohort, realistic=False), True),
        ("realistic", corrupted(cohort, realistic=True), True),
        ("realistic, none left out", corrupted(cohort, realistic=True), False),
    ):
        fit = fit_full(dataclasses.replace(cohort, labels=labels), embedded, dataclasses.replace(config, prune=prune))
        head = next(iter(fit.heads.values()))
        found[name] = float((head.probabilities[test].argmax(dim=1) == truth[test]).float().mean())
        print(f"10 % of the labels wrong: {name:<26}{found[name]:.4f}", flush=True)
    for name in ("symmetric", "realistic"):
        drop = found["none wrong"] - found[name]
        yield f"drop by 10 % {name} label noise", result(round(drop, 4), 0.01, least=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20600)
    parser.add_argument("--unseen", type=int, default=5600)
    parser.add_argument("--epochs", type=float, default=12.0)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    place = given.output.resolve()
    images, others = archive(place, given.images, 31), archive(place / "unseen", given.unseen, 32)
    config, _ = probe(place, images, given.epochs)
    results = dict(few_labels(config))
    results |= dict(unseen(Bundle.load(config.output + "/bundle", device="cpu"), place / "unseen", others))
    results |= dict(wrong_labels(config))
    print_results("probe_phantom", ("torch", "ray", "lightly"), results)


if __name__ == "__main__":
    main()
