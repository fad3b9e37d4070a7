"""How fast the phantom draws and writes DICOM, and how little brightness and size tell about the region.

python benchmarks/phantom.py [--objects 120] [--side-px 1024]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict

import cv2
import numpy as np
from common import print_results, result
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import plan_archive
from radray.phantom.radiograph import render_radiograph
from radray.regions import load_regions

GOAL_OBJECTS_S = 30.0
GOAL_LINEAR_ACCURACY = 0.35


def measure_speed(objects: int, side_px: int) -> tuple[float, dict[str, float]]:
    """Objects a second of one core (processor time, so that other programs do not count), and ms by transfer syntax."""
    config = PhantomConfig(output="unused", images=objects, side_px=side_px, least_per_region=0)
    planned = plan_archive(config)
    for one in planned[:8]:
        draw_object(one, config)
    times: dict[str, list[float]] = defaultdict(list)
    started = time.process_time()
    for one in planned:
        before = time.process_time()
        _, truth = draw_object(one, config)
        times[truth.get("transfer_syntax") or "not DICOM"].append(time.process_time() - before)
    speed = len(planned) / (time.process_time() - started)
    return speed, {syntax: 1000 * statistics.mean(values) for syntax, values in sorted(times.items())}


def measure_shortcut(per_region: int) -> float:
    """Accuracy of a linear classifier on brightness and size, 14 balanced regions, 4 folds."""
    looks, labels = [], []
    for number, name in enumerate(load_regions("skeletal14").names):
        for seed in range(per_region):
            pixels = render_radiograph(name, np.random.default_rng([number, seed]), 160).pixels
            rows, columns = pixels.shape
            quantiles = np.quantile(pixels, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
            looks.append(
                [pixels.mean(), pixels.std(), *quantiles, rows, columns, rows / columns, np.log(rows * columns)]
            )
            labels.append(number)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(cross_val_score(linear, np.array(looks), np.array(labels), cv=4).mean())


def main() -> None:
    """Measure, print a table and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--objects", type=int, default=120)
    options.add_argument("--side-px", type=int, default=1024)
    options.add_argument("--per-region", type=int, default=60)
    given = options.parse_args()
    cv2.setNumThreads(1)
    speed, by_syntax = measure_speed(given.objects, given.side_px)
    accuracy = measure_shortcut(given.per_region)
    print(f"{given.objects} objects, long side up to {given.side_px} px: {speed:.1f} objects/s a core")
    for syntax, milliseconds in by_syntax.items():
        print(f"  {syntax:26s} {milliseconds:7.1f} ms an object")
    print(f"linear classifier on brightness and size, 14 balanced regions: {accuracy:.1%} (chance 7.1 %)")
    results = {
        "objects_per_s_per_core": result(round(speed, 1), GOAL_OBJECTS_S),
        "brightness_size_linear_accuracy": result(
            round(accuracy, 3), GOAL_LINEAR_ACCURACY, round(1 / 14, 3), least=False
        ),
    }
    print_results("phantom", ("numpy", "opencv-python-headless", "pydicom"), results)


if __name__ == "__main__":
    main()
