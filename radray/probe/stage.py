"""The probe stage: embed, fit, measure, and leave a bundle.

Writes below the output: features/, out_of_fold.parquet, test_predictions.parquet, accuracy.csv,
knn.csv, per_region.csv, confusion.csv, comparison.csv, subgroups.csv, bundle/.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from radray import storage
from radray.ensemble import Bundle, Predictions
from radray.errors import ConfigError, Status
from radray.images.reading import load_cleaning, table_digest
from radray.images.split import TEST
from radray.pretrain.config import IMAGENET
from radray.pretrain.run import Run, find_run_folders, load_network
from radray.probe import figures
from radray.probe.assembly import build_bundle, describe, predict_rows
from radray.probe.budgets import BudgetKey, find_budget_runs, fit_budgets, network_rows
from radray.probe.cohort import Cohort, read_cohort
from radray.probe.config import ProbeConfig
from radray.probe.embedding import Network, embed_networks, write_members
from radray.probe.figures import FloatArray
from radray.probe.heads import Embedded, standardise
from radray.probe.members import FullFit, fit_full, out_of_fold_all
from radray.probe.neighbours import neighbour_probabilities
from radray.regions import load_regions


def run_probe(config: ProbeConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: Runs that do not fit the images, or images without labels enough.
    """
    regions = load_regions(config.regions)
    cleaning = load_cleaning(config.images)
    runs = find_runs(config)
    cohort = read_cohort(config, regions)
    warn_of_labels(cohort)
    embedded, few = embed(cohort, runs, config)
    fit = fit_full(cohort, embedded, config)
    bundle = build_bundle(cohort, embedded, fit, config, regions, cleaning)
    test = cohort.rows(TEST, labelled=False)
    predictions = predict_rows(bundle, embedded, test, cohort, config)
    full = {method: _spread_out(own, test, cohort) for method, own in predictions.member_probabilities.items()}
    full["ensemble"] = _spread_out(predictions.probabilities, test, cohort)

    accuracy = [row for method, own in full.items() for row in figures.measure(cohort, method, "all", 0, own)]
    for method, budget, seed, own in fit_budgets(cohort, embedded, few, config):
        accuracy += figures.measure(cohort, method, budget, seed, own)
    against_labels = {row["method"]: row for row in accuracy if (row["budget"], row["against"]) == ("all", "label")}
    shown = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "calibration_error")
    bundle.facts = describe(
        cohort,
        fit,
        config,
        {method: {name: round(row[name], 4) for name in shown} for method, row in against_labels.items()},
        table_digest(config.images),
        {method: run.document.get("weights_digest") for method, run in runs.items()},
    )
    digest = bundle.save(storage.join(config.output, "bundle"))
    _write_tables(cohort, embedded, fit, full, predictions, accuracy, config)
    return _summarise(cohort, bundle, digest, fit, accuracy, predictions)


def warn_of_labels(cohort: Cohort) -> None:
    """Say on standard error what the labels will not do."""
    for text, found in (
        ("labels that are no class, taken as missing", [f"{name} {n:,}" for name, n in cohort.outside.items()]),
        ("regions without a labelled training image, which the heads will name in no image", cohort.scarce(0)),
        ("regions with one labelled training image", cohort.scarce(1)),
    ):
        if found:
            print(f"probe: {text}: {', '.join(found)}", file=sys.stderr)


def find_runs(config: ProbeConfig) -> dict[str, Run]:
    """Method → run, from the URLs given: run folders, or folders of run folders; in the order given.

    Raises:
        ConfigError: No run there, two of one method, or of another image size than the images table's cleaning.
    """
    side_px = load_cleaning(config.images).side_px
    found: dict[str, Run] = {}
    for place in find_run_folders(config.runs):
        run = load_network(place)
        if run.method in found or run.method == "ensemble":
            raise ConfigError(
                f"--runs {place}: its method {run.method!r} is there already; give one run of each method "
                "(none is called ensemble)"
            )
        if run.side_px > side_px and run.method != IMAGENET:
            raise ConfigError(
                f"--runs {place}: it was trained on images of {run.side_px} pixels, --images has {side_px}; "
                "train on these images, or clean with that --side-px"
            )
        found[run.method] = run
    return found


def embed(
    cohort: Cohort, runs: Mapping[str, Run], config: ProbeConfig
) -> tuple[list[Embedded], dict[BudgetKey, Callable[[], Embedded]]]:
    """Features of the cohort by every run, and by the few-label networks below them (read when asked for)."""
    budget_runs = find_budget_runs(runs, config)
    rows = {key: network_rows(cohort, key[1], key[2]) for key in budget_runs}
    networks = [Network(name=method, run=run) for method, run in runs.items()]
    for key, run in budget_runs.items():
        networks.append(Network(name=few_name(key), run=run, wanted_ids=np.sort(cohort.row_ids[rows[key].numpy()])))
    features = embed_networks(networks, cohort.row_ids, config)
    write_members(config.output, features, runs)
    outside_test = torch.from_numpy(cohort.split != TEST)

    def read(name: str, run: Run, wanted: Tensor) -> Embedded:
        raw = torch.from_numpy(features[name].read(cohort.row_ids).astype(np.float32))
        return standardise(run.method, run, raw, wanted[outside_test[wanted]])

    everyone = torch.arange(len(cohort))
    few: dict[BudgetKey, Callable[[], Embedded]] = {
        key: partial(read, few_name(key), run, rows[key]) for key, run in budget_runs.items()
    }
    return [read(method, run, everyone) for method, run in runs.items()], few


def few_name(key: BudgetKey) -> str:
    """What the features of a few-label network are called."""
    method, budget, seed = key
    return f"{method}-{budget}-seed{seed}"


def _spread_out(probabilities: FloatArray, rows: Tensor, cohort: Cohort) -> Tensor:
    """Float32[n, classes] with the probabilities of some images at their places, and 0 elsewhere."""
    everyone = torch.zeros(len(cohort), probabilities.shape[1])
    everyone[rows] = torch.from_numpy(probabilities)
    return everyone


def _write_tables(
    cohort: Cohort,
    embedded: Sequence[Embedded],
    fit: FullFit,
    full: dict[str, Tensor],
    predictions: Predictions,
    accuracy: list[dict[str, Any]],
    config: ProbeConfig,
) -> None:
    everyone = torch.arange(len(cohort)).numpy()
    saw = {each.method for each in embedded if each.saw_labels}
    parts = []
    for method, own in out_of_fold_all(cohort, embedded, fit, config).items():
        table = figures.probability_table(cohort, everyone, method, own.numpy())
        learned = pa.array([method in saw and split == "train" for split in cohort.split], pa.bool_())
        parts.append(table.append_column("backbone_saw_label", learned))
    storage.write_table(storage.join(config.output, "out_of_fold.parquet"), pa.concat_tables(parts))

    test = cohort.rows(TEST, labelled=False).numpy()
    parts = []
    for method, own in full.items():
        table = figures.probability_table(cohort, test, method, own.numpy()[test])
        columns = {
            "label": figures.region_names(cohort, cohort.labels.numpy()[test]),
            "truth": pa.nulls(len(test), pa.string())
            if cohort.truth is None
            else figures.region_names(cohort, cohort.truth[test]),
            "region": figures.region_names(cohort, own.argmax(dim=1).numpy()[test]),
            "confidence": pa.array(own.numpy()[test].max(axis=1)),
            "abstained": pa.array(predictions.abstained),
            "ood_score": pa.array(predictions.ood_score),
            "turned": pa.array(predictions.turned),
            "inverted": pa.array(predictions.inverted),
        }
        for name, column in columns.items():
            table = table.append_column(name, column)
        parts.append(table)
    storage.write_table(storage.join(config.output, "test_predictions.parquet"), pa.concat_tables(parts))

    by_region = [figures.by_region(cohort, method, own) for method, own in full.items()]
    for name, rows in (
        ("accuracy.csv", accuracy),
        ("knn.csv", _measure_neighbours(cohort, embedded, fit)),
        ("per_region.csv", [row for regions, _ in by_region for row in regions]),
        ("confusion.csv", [row for _, confusions in by_region for row in confusions]),
        ("comparison.csv", figures.compare(cohort, full)),
        ("subgroups.csv", figures.by_subgroup(cohort, full["ensemble"])),
    ):
        figures.write_csv(storage.join(config.output, name), rows)


def _measure_neighbours(cohort: Cohort, embedded: Sequence[Embedded], fit: FullFit) -> list[dict[str, Any]]:
    """Rows like accuracy.csv's, of the kNN probe with all labels."""
    rows, test = [], cohort.rows(TEST, labelled=False)
    for each in embedded:
        own = neighbour_probabilities(
            each.features[test], each.features[fit.training], cohort.labels[fit.training], len(cohort.names)
        )
        rows += figures.measure(cohort, each.method, "all", 0, _spread_out(own.numpy(), test, cohort))
    return rows


def _summarise(
    cohort: Cohort,
    bundle: Bundle,
    digest: str,
    fit: FullFit,
    accuracy: list[dict[str, Any]],
    predictions: Predictions,
) -> dict[str, Any]:
    summary = {
        "rows_in": len(cohort),
        "rows_out": len(cohort),
        "by_status": {Status.OK.value: len(cohort)},
        "labelled": {split: len(cohort.rows(split)) for split in ("train", "validation", "test")},
        "labels_left_out": len(fit.left_out),
        "wrong_labels_assumed": round(fit.mixture.wrong_labels, 4),
        "labels_outside_classes": cohort.outside,
        "regions_without_training_image": cohort.scarce(0),
        "regions_with_one_training_image": cohort.scarce(1),
        "bundle": digest,
        "members": {member.method: round(member.share, 3) for member in bundle.members},
        "abstained_on_test": round(float(predictions.abstained.mean()), 4),
        "ensemble": figures.trust(cohort, predictions),
        "accuracy": figures.mean_accuracy(accuracy, figures.LABEL),
    }
    if cohort.truth is not None:
        summary["accuracy_on_truth"] = figures.mean_accuracy(accuracy, figures.TRUTH)
    return summary
