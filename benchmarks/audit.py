"""Wrong labels and images out of domain: what the audit finds, against cleanlab and pytorch-ood on the same features.

Takes a folder with archive/ (DICOM) and labels.csv (path, region, header_label, source, split), and draws a phantom
beside it. Both are indexed, cleaned, embedded (SimCLR and ImageNet's network, which see no label) and probed by the
jobs' own stages, once; --output keeps that. Then wrong labels are planted along realistic confusions at 1, 5 and 10 %,
and every ranking gets the same out-of-fold probabilities and neighbours. The wrong headers of the real archive are
looked for as they are. `--parts scale` runs the whole audit on a million images with random features.

python benchmarks/audit.py --real FOLDER --output FOLDER [--parts labels outside headers rounds scale]
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from audit_scale import measure_scale
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from common import print_results, result
from probe_phantom import archive
from real_archive import REGIONS, prepare, read_truth
from sklearn.metrics import average_precision_score, roc_auc_score

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.inputs import AuditRows, load_rows, points
from radray.audit.judging import deal_folds, judge, standardise_member
from radray.audit.label_errors import odds_doubt, pool, self_doubt, suspect_labels
from radray.audit.neighbours import Neighbours, find_neighbours, neighbour_votes
from radray.audit.outside import find_outside, trust
from radray.audit.stage import run_audit
from radray.cleaning.config import CleaningConfig
from radray.phantom.wording import CONFUSIONS
from radray.pretrain.config import PretrainConfig
from radray.pretrain.stage import run_all
from radray.probe.config import ProbeConfig
from radray.probe.heads import out_of_fold
from radray.probe.stage import run_probe
from radray.score.config import ScoreConfig
from radray.score.stage import run_score

NEIGHBOURS = 20
RATES = (0.01, 0.05, 0.1)
RESAMPLES = 200
FIRST_SEED = 100
"""Draws below were used when the rule was chosen."""
ROUNDS, BATCH = 4, 100
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


OUTSIDE = "(out of domain)"
"""What the truth says of an image that shows no region."""
BASELINES = ("cleanlab, self-confidence", "cleanlab, margin", "cleanlab, score alone", "distance")


class Bench(NamedTuple):
    """One archive, ready to be audited, with its truth."""

    name: str
    config: AuditConfig
    rows: AuditRows
    space: npt.NDArray[np.float32]
    neighbours: Neighbours
    truth: Indices
    """Int64 [n], −1 where no region is right."""
    outside: Bools
    confusions: dict[str, list[str]]
    """Region → what it is mistaken for, as often as it is."""


def build(name: str, place: Path, images: str, truth: str, regions: str, epochs: float) -> AuditConfig:
    """Train, embed, probe and score; what is there already is taken as it is."""
    run = PretrainConfig(
        images=images,
        output=str(place / "runs" / "simclr"),
        method="simclr",
        recipe="cpu_demo",
        epochs=epochs,
        threads=1,
    )
    run_all([run])
    probe = ProbeConfig(
        images=images,
        runs=(str(place / "runs"), "imagenet"),
        output=str(place / "probe"),
        regions=regions,
        truth=truth,
        budgets=("all",),
        pose=False,
    )
    if not storage.exists(storage.join(probe.output, "bundle", "bundle.json")):
        run_probe(probe)
    predictions = str(place / "predictions")
    run_score(ScoreConfig(index=str(place / "index"), bundle=probe.output + "/bundle", output=predictions))
    return AuditConfig(
        predictions=predictions, images=images, probe=probe.output, output=str(place / "findings"), heat_maps=False
    )


def open_bench(name: str, config: AuditConfig, truth: dict[str, str], confusions: dict[str, list[str]]) -> Bench:
    """Read everything that the rankings share."""
    rows = load_rows(config)
    regions = [truth.get(uri, "") for uri in rows.facts["uri"].to_pylist()]
    space = points(rows)
    return Bench(
        name=name,
        config=config,
        rows=rows,
        space=space,
        neighbours=find_neighbours(space, rows.patients, NEIGHBOURS),
        truth=np.array([rows.names.index(each) if each in rows.names else -1 for each in regions]),
        outside=np.array([each == OUTSIDE for each in regions]),
        confusions={name: [one for one in found if one in rows.names] for name, found in confusions.items()},
    )


def open_phantom(place: Path, count: int) -> Bench:
    """A synthetic archive, with objects that are no radiograph among it."""
    images, truth = archive(place, count, 41), str(place / "archive-truth.parquet")
    config = build("phantom", place, images, truth, "skeletal14", 8.0)
    known = {
        row["uri"]: OUTSIDE if row["kind"] == "out_of_domain" else row["region"] or ""
        for row in storage.read_table(truth).to_pylist()
    }
    return open_bench("phantom", config, known, {name: list(found) for name, found in CONFUSIONS.items()})


def open_real(real: Path, place: Path) -> Bench:
    """Real radiographs; their headers' wrong labels tell what regions are mistaken for."""
    truth = read_truth(real)
    images, table = prepare(truth, place, CleaningConfig(side_px=128))
    confusions: dict[str, list[str]] = defaultdict(list)
    for row in truth:
        if row["header"] == "wrong" and row["region"]:
            confusions[row["region"]].append(row["header_label"])
    config = build("real", place, images, table, REGIONS, 12.0)
    return open_bench("real", config, {row["uri"]: row["region"] for row in truth}, confusions)


def plant(bench: Bench, rate: float, seed: int) -> Indices:
    """The true labels, a share of them wrong."""
    rng, labels = np.random.default_rng(seed), bench.truth.copy()
    rows = np.flatnonzero(labels >= 0)
    for row in rng.permutation(rows)[: round(rate * len(rows))]:
        own = bench.rows.names[labels[row]]
        others = bench.confusions.get(own) or [name for name in bench.rows.names if name != own]
        labels[row] = bench.rows.names.index(str(rng.choice([name for name in others if name != own])))
    return labels


def cleanlab_order(labels: Indices, probabilities: Floats, by: str) -> Floats:
    """cleanlab's ranking as scores: what `find_label_issues` finds comes first, ranked by its quality score."""
    score = 1 - get_label_quality_scores(labels, probabilities, method=by)
    score[find_label_issues(labels, probabilities, return_indices_ranked_by=by, n_jobs=1)] += 1
    return np.asarray(score, np.float64)


def rankings(bench: Bench, labels: Indices, probabilities: Floats, rows: Indices) -> dict[str, Floats]:
    """Suspicion of the labelled rows by every method, from the same probabilities and neighbours."""
    votes = neighbour_votes(bench.neighbours, labels, len(bench.rows.names))
    ours = suspect_labels(labels, probabilities, votes, bench.neighbours, rows)
    return {
        "P(wrong)": ours.wrong_probability,
        "radray": ours.suspicion,
        "cleanlab, self-confidence": cleanlab_order(labels[rows], probabilities[rows], "self_confidence"),
        "cleanlab, margin": cleanlab_order(labels[rows], probabilities[rows], "normalized_margin"),
        "cleanlab, score alone": 1 - get_label_quality_scores(labels[rows], probabilities[rows]),
        "distance": ours.distance,
        "self-doubt": ours.self_doubt,
        "margin": ours.margin,
        "neighbours": ours.neighbour_disagreement,
    }


def found_in_first_2n(wrong: Bools, scores: Floats) -> float:
    """Share of the wrong labels among the first 2·N of the queue."""
    order = np.argsort(-scores, kind="stable")[: 2 * int(wrong.sum())]
    return float(wrong[order].sum() / max(wrong.sum(), 1))


FIGURES: dict[str, Callable[[Bools, Floats], float]] = {
    "average precision": average_precision_score,
    "found in 2·N": found_in_first_2n,
}


class Draw(NamedTuple):
    """One planting of wrong labels, ranked by everyone."""

    wrong: Bools
    patients: Indices
    scores: dict[str, Floats]


def interval(draws: Sequence[Draw], other: str, figure: str) -> tuple[float, float]:
    """95 % of the mean difference to another ranking, over resampled patients; the same ones in every draw."""
    score, rng = FIGURES[figure], np.random.default_rng(0)
    patients = np.unique(np.concatenate([draw.patients for draw in draws]))
    members = [{one: np.flatnonzero(draw.patients == one) for one in patients} for draw in draws]
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.choice(patients, len(patients))
        differences = []
        for draw, own in zip(draws, members, strict=True):
            rows = np.concatenate([own[one] for one in chosen])
            scores = [score(draw.wrong[rows], draw.scores[name][rows]) for name in ("radray", other)]
            differences.append(scores[0] - scores[1])
        found.append(np.mean(differences))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def measure_labels(bench: Bench, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every ranking on planted wrong labels, and how far P(wrong) can be trusted."""
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    for rate in RATES:
        draws, sure = [], []
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            labels = plant(bench, rate, seed)
            rows = np.flatnonzero(labels >= 0)
            wrong = labels[rows] != bench.truth[rows]
            probabilities = judge(bench.rows, labels)
            scores = rankings(bench, labels, probabilities, rows)
            draws.append(Draw(wrong, bench.rows.patients[rows], scores))
            sure.append((scores.pop("P(wrong)"), wrong))
        figures = {
            (name, figure): float(np.mean([score(draw.wrong, draw.scores[name]) for draw in draws]))
            for name in draws[0].scores
            for figure, score in FIGURES.items()
        }
        for name in draws[0].scores:
            shown = "   ".join(f"{figure} {figures[name, figure]:.3f}" for figure in FIGURES)
            print(f"{bench.name}, {rate:.0%} wrong, {name:<28}{shown}", flush=True)
        for key, value in figures.items():
            means[key].append(value)
        for figure in FIGURES:
            best = max(BASELINES, key=lambda name: figures[name, figure])
            low, high = interval(draws, best, figure)
            own, base = figures["radray", figure], figures[best, figure]
            print(
                f"{bench.name}, {rate:.0%} wrong, {figure}: {own - base:+.4f} ({low:+.4f} to {high:+.4f}) over {best}"
            )
            metric = result(round(own, 4), round(base, 4), round(base, 4))
            yield f"{bench.name}, {rate:.0%} wrong, {figure}", metric | {"over": best, "interval": [low, high]}
        counted = np.mean([stated.sum() / wrong.sum() for stated, wrong in sure])
        stated, wrong = (np.concatenate(parts) for parts in zip(*sure, strict=True))
        bins = [(stated >= low) & (stated < low + 0.2) for low in np.arange(0, 1, 0.2)]
        shown = ", ".join(f"{stated[some].mean():.2f}: {wrong[some].mean():.2f}" for some in bins if some.any())
        print(
            f"{bench.name}, {rate:.0%} wrong, P(wrong) stated: true share {shown}; {counted:.2f} of the wrong counted"
        )
        yield f"{bench.name}, {rate:.0%} wrong, expected over planted", result(round(float(counted), 2))
    for figure in FIGURES:
        base = max(float(np.mean(means[name, figure])) for name in BASELINES)
        own = float(np.mean(means["radray", figure]))
        yield f"{bench.name}, mean, {figure}", result(round(own, 4), round(base + 1e-4, 4), round(base, 4))


def measure_outside(bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """Images out of domain against pytorch-ood's detectors on the same points, with all members and with SimCLR alone.

    The detectors are fitted as their papers say, to all labelled images; and to the images that the audit trusts,
    which is what tells strangers that carry labels.
    """
    alone = tuple(each for each in bench.rows.members if each.method == "simclr")
    for name, members in (("all members", bench.rows.members), ("SimCLR alone", alone)):
        rows = dataclasses.replace(bench.rows, members=members)
        rows = dataclasses.replace(rows, probabilities=judge(rows, rows.labels))
        yield from compare_outside(f"{bench.name}, {name}", bench, rows)


def compare_outside(name: str, bench: Bench, rows: AuditRows) -> Iterator[tuple[str, dict[str, Any]]]:
    """AUROC of every score."""
    from pytorch_ood.detector import KNN, EnergyBased, Mahalanobis

    space = points(rows)
    images, labels = torch.from_numpy(space), torch.from_numpy(rows.labels)
    folds = torch.from_numpy(deal_folds(rows.patients, 0))
    labelled = torch.from_numpy(np.flatnonzero(rows.labels >= 0))
    logits = torch.stack(
        [
            out_of_fold(
                standardise_member(each), labels, labelled, folds, len(rows.names), l2=each.l2, balance=rows.balance
            )
            for each in rows.judges
        ]
    ).mean(dim=0)
    judged = (bench.truth >= 0) | bench.outside
    nobody = np.zeros(len(rows), bool)
    found = {
        "radray": find_outside(rows, space, nobody, 0.01).score,
        "energy": EnergyBased.score(logits).numpy(),
    }
    for kind, fitted in (
        ("all labelled", labelled),
        ("trusted", torch.from_numpy(np.flatnonzero(trust(rows.labels, rows.probabilities)))),
    ):
        neighbours, distance = KNN(None, k=NEIGHBOURS), Mahalanobis(None)
        neighbours.fit_features(images[fitted], labels[fitted])
        distance.fit_features(images[fitted], labels[fitted])
        found[f"kNN, {kind}"] = neighbours.predict_features(images).numpy()
        found[f"Mahalanobis, {kind}"] = distance.predict_features(images).numpy()
    auroc = {one: float(roc_auc_score(bench.outside[judged], np.nan_to_num(own[judged]))) for one, own in found.items()}
    counts = f"{int(bench.outside.sum())} of {int(judged.sum()):,}"
    for one, own in auroc.items():
        print(f"{name}, {counts} out of domain, {one:<28}AUROC {own:.4f}")
    for kind in ("all labelled", "trusted"):
        best = max(own for one, own in auroc.items() if one == "energy" or one.endswith(kind))
        yield f"{name}, AUROC, detectors fitted to {kind}", result(round(auroc["radray"], 4), 0.98, round(best, 4))
        yield (
            f"{name}, AUROC less the best detector fitted to {kind}",
            result(round(auroc["radray"] - best, 4), 0.0001, 0.0),
        )


def measure_headers(bench: Bench, real: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The real archive's wrong headers, as the product finds them, and what each score is worth."""
    wrong_uris = {row["uri"] for row in read_truth(real) if row["header"] == "wrong"}
    summary = run_audit(dataclasses.replace(bench.config, controls=100))
    labels = bench.rows.labels
    rows = np.flatnonzero((labels >= 0) & np.isfinite(bench.rows.probabilities[:, 0]))
    uris = bench.rows.facts["uri"].to_pylist()
    wrong = np.array([uris[row] in wrong_uris for row in rows])
    first = int(wrong.sum())
    votes = neighbour_votes(bench.neighbours, labels, len(bench.rows.names))
    probabilities = judge(bench.rows, labels)
    orders = rankings(bench, labels, probabilities, rows)
    orders.pop("P(wrong)")
    own, near = probabilities[rows], votes[rows]
    orders |= {
        "radray without neighbours": odds_doubt(labels[rows], own),
        "radray without the ensemble": odds_doubt(labels[rows], near),
        "radray without the odds (self-doubt of the pool)": self_doubt(labels[rows], pool(own, near)),
    }
    precision = {}
    for name, score in orders.items():
        precision[name] = float(wrong[np.argsort(-score, kind="stable")[:first]].mean())
        print(f"real headers, {first} wrong of {len(rows):,}, {name:<50}precision {precision[name]:.3f} in as many")
    print(f"expected wrong labels {summary['expected_wrong_labels']}, by issue {summary['by_issue']}")
    table = list(csv.DictReader(storage.read_bytes(bench.config.output + "/disagreement.csv").decode().splitlines()))
    truth = {row["uri"]: row["region"] for row in read_truth(real)}
    suggested = probabilities[rows].argmax(axis=1)
    counted = suggested != labels[rows]
    right = np.array([truth[uris[row]] == bench.rows.names[one] for row, one in zip(rows, suggested, strict=True)])
    print(
        f"disagreement table: {int(counted.sum())} images counted, {wrong[counted].mean():.3f} of them wrong headers; "
        f"of the wrong headers {(counted & right)[wrong].mean():.3f} are counted under what they show and say"
    )
    station = [row for row in table if row["fact"] == "station"]
    assert sum(int(row["images"]) for row in station) == int(counted.sum())
    for row in [row for row in table if row["fact"] == "station"][:8]:
        said = f"{row['images']} of {row['of']} that look like {row['model_region']} say {row['header_label']}"
        print(f"  {row['fact']} {row['value']}: {said}")
    best = max(own for name, own in precision.items() if not name.startswith("radray"))
    yield (
        "real headers, precision in the first N",
        result(round(precision["radray"], 4), round(best, 4), round(best, 4)),
    )
    yield "disagreement table, share of it that is wrong headers", result(round(float(wrong[counted].mean()), 4))
    yield "wrong headers counted under what they show and say", result(round(float((counted & right)[wrong].mean()), 4))


def measure_rounds(bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """What ranking anew after every hundred verdicts is worth, with the truth as reviewer, and how long it takes."""
    rows, classes = bench.rows, len(bench.rows.names)
    known = (bench.truth >= 0) & (rows.labels >= 0)
    wrong = known & (rows.labels != bench.truth)
    found: dict[str, int] = {}
    seconds = []
    for name in ("ranked once", "ranked anew"):
        labels, seen = rows.labels.copy(), ~known
        probabilities = judge(rows, labels)
        for _ in range(ROUNDS):
            begun = time.monotonic()
            if name == "ranked anew":
                probabilities = judge(rows, labels)
            votes = neighbour_votes(bench.neighbours, labels if name == "ranked anew" else rows.labels, classes)
            open_ = np.flatnonzero(~seen)
            ranked = suspect_labels(labels, probabilities, votes, bench.neighbours, open_).suspicion
            seconds.append(time.monotonic() - begun)
            batch = open_[np.argsort(-ranked, kind="stable")[:BATCH]]
            labels[batch], seen[batch] = bench.truth[batch], True
        found[name] = int((wrong & (labels == bench.truth)).sum())
    for name, count in found.items():
        print(f"{bench.name}, {int(wrong.sum())} wrong headers, {ROUNDS} rounds of {BATCH}, {name}: {count} put right")
    print(f"seconds to fit and rank anew {len(rows):,} images: {max(seconds):.1f} at most")
    yield (
        "wrong labels found in rounds, ranked anew less once",
        result(found["ranked anew"] - found["ranked once"], 0, found["ranked once"]),
    )
    yield "seconds to fit and rank anew", result(round(max(seconds), 1), 10, least=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["labels", "outside", "headers", "rounds"],
        choices=["labels", "outside", "headers", "rounds", "scale"],
    )
    parser.add_argument("--images", type=int, default=6000, help="objects of the phantom")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1_000_000, help="images of the scale part")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    place, results = given.output.resolve(), {}
    if set(given.parts) != {"scale"}:
        phantom, real = open_phantom(place / "phantom", given.images), open_real(given.real.resolve(), place / "real")
        if "labels" in given.parts:
            results |= dict(measure_labels(phantom, given.draws)) | dict(measure_labels(real, given.draws))
        if "outside" in given.parts:
            results |= dict(measure_outside(phantom))
        if "headers" in given.parts:
            results |= dict(measure_headers(real, given.real.resolve()))
        if "rounds" in given.parts:
            results |= dict(measure_rounds(real))
    if "scale" in given.parts:
        results |= dict(measure_scale(place / "scale", given.scale))
    print_results("audit", ("torch", "cleanlab", "pytorch-ood", "faiss-cpu"), results)


if __name__ == "__main__":
    main()
