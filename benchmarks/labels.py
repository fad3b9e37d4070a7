"""Few labels on real radiographs: each method against the supervised baseline with the same labels.

Takes a folder with archive/ (DICOM) and labels.csv (path, region, source, split), indexes and cleans it by the jobs'
own stages, trains every method, and measures on the truth of the test split: a linear probe on frozen features, and the
same network tuned with the few labels by as many steps as the baseline (NAME_tuned). SupCon starts from SimCLR's
network (simclr_supcon): a few epochs per draw of labels are enough then; its tuned networks start from its own draw.
With --source only the images of one source are used: what is learned then cannot be the source.

python benchmarks/labels.py --real FOLDER --output FOLDER [--source fracatlas]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as arrow_csv
from common import print_results, result
from real_archive import REGIONS, prepare, read_truth

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.pretrain.config import MethodName, PretrainConfig
from radray.pretrain.stage import run_all
from radray.probe.config import ProbeConfig
from radray.probe.stage import run_probe

BUDGETS = ("1%", "5%", "10%")
COMPARED = ("simclr", "byol", "simclr_supcon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--source")
    parser.add_argument("--recipe", default="cpu_demo")
    parser.add_argument("--epochs", type=float, nargs=3, default=(20, 30, 5), help="SimCLR, BYOL, SupCon from SimCLR")
    parser.add_argument("--supervised-steps", type=int, default=200)
    parser.add_argument("--tuning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows = read_truth(given.real.resolve(), given.source)
    images, truth = prepare(rows, given.output.resolve(), CleaningConfig(side_px=128))
    simclr_epochs, byol_epochs, supcon_epochs = given.epochs
    place = given.output.resolve() / "runs"

    def settings(method: MethodName, name: str, epochs: float, **more: Any) -> PretrainConfig:
        return PretrainConfig(
            images=images,
            output=str(place / name),
            method=method,
            recipe=given.recipe,
            epochs=epochs,
            budgets=BUDGETS if method in ("supcon", "supervised") else (),
            budget_seeds=given.seeds,
            budget_steps=given.supervised_steps if method == "supervised" else None,
            threads=int(os.environ.get("OMP_NUM_THREADS", "1")),
            **more,
        )

    def tuned(start: str) -> PretrainConfig:
        weights = str(place / start)
        return settings("supervised", f"{start}_tuned", 2, weights=weights, learning_rate=given.tuning_rate)

    run_all(
        [
            settings("simclr", "simclr", simclr_epochs),
            settings("supervised", "supervised", 2),
            settings("byol", "byol", byol_epochs),
        ]
    )
    run_all([settings("supcon", "simclr_supcon", supcon_epochs, weights=str(place / "simclr"))])
    run_all([tuned(name) for name in COMPARED])
    probe = str(given.output.resolve() / "probe")
    run_probe(
        ProbeConfig(
            images=images,
            runs=(str(place),),
            output=probe,
            regions=REGIONS,
            truth=truth,
            budgets=(*BUDGETS, "all"),
            seeds=given.seeds,
        )
    )
    rows = arrow_csv.read_csv(storage.locate(storage.join(probe, "accuracy.csv")).path).to_pylist()
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["against"] == "truth":
            found.setdefault((row["method"], row["budget"]), []).append(row["accuracy"])
    print(f"{'accuracy on truth, test split':<30}" + "".join(f"{budget:>18}" for budget in (*BUDGETS, "all")))
    compared = [name for method in COMPARED for name in (method, f"{method}_tuned")]
    for method in (*compared, "supervised", "ensemble"):
        cells = [found[method, budget] for budget in (*BUDGETS, "all")]
        print(f"{method:<30}" + "".join(f"{np.mean(cell):>10.3f} ± {np.std(cell):.3f}" for cell in cells))
    results = {}
    for method in compared:
        for budget in BUDGETS:
            value, baseline = (float(np.mean(found[name, budget])) for name in (method, "supervised"))
            results[f"{given.source or 'all'}, {method}, {budget}"] = result(
                round(value, 4), round(baseline + 1e-4, 4), round(baseline, 4)
            )
    print_results("labels", ("torch", "ray", "lightly"), results)


if __name__ == "__main__":
    main()
