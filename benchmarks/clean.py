"""What cleaning costs after decoding, and how well it finds the exposed field, on phantoms with known geometry.

python benchmarks/clean.py [--images 1200] [--side-px 640]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter, defaultdict

import cv2
import numpy as np
from common import print_results, result
from numpy.typing import NDArray

from radray.cleaning import CleaningConfig, clean
from radray.images.hashing import hash_pixels, perceptual_hash
from radray.phantom.radiograph import render_radiograph
from radray.regions import load_regions

GOAL_MS, GOAL_MEDIAN, GOAL_FIFTH, UPRIGHT_DEG = 15.0, 0.95, 0.85, 1.0


def overlap(one: NDArray[np.floating], other: NDArray[np.floating], shape: tuple[int, int]) -> float:
    """Intersection over union of two polygons, (x, y) in pixels, within an image."""
    masks = []
    for polygon in (one, other):
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.round(np.asarray(polygon) * 16 - 8).astype(np.int32)], 1, shift=4)
        masks.append(mask.astype(bool))
    union = (masks[0] | masks[1]).sum()
    return float((masks[0] & masks[1]).sum() / union) if union else 0.0


def main() -> None:
    """Measure, print tables and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1200)
    options.add_argument("--side-px", type=int, default=640)
    given = options.parse_args()
    cv2.setNumThreads(1)
    names, config = load_regions("skeletal14").names, CleaningConfig()
    found: dict[str, list[float]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    milliseconds, turned = [], 0
    for number in range(given.images):
        drawn = render_radiograph(names[number % len(names)], np.random.default_rng([11, number]), given.side_px)
        rows, columns = drawn.pixels.shape
        grey = drawn.pixels.clip(0, 1)
        # The decoder hands over the working size.
        scale = config.working_px / max(rows, columns)
        grey = cv2.resize(grey, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)
        started = time.perf_counter()
        hash_pixels(grey, rows, columns)
        cleaned = clean(grey, config)
        perceptual_hash(cleaned.image)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        truth = np.asarray(drawn.exposed_field, np.float64)
        if drawn.collimation == "none":
            truth = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float64)
        found[drawn.collimation].append(overlap(cleaned.field * (columns, rows), truth, (rows, columns)))
        kinds[f"{drawn.collimation}: {next((f for f in cleaned.flags if f.startswith('field_')), 'whole')}"] += 1
        upright = drawn.collimation == "none" or abs(drawn.angle_deg) < 0.1
        turned += upright and abs(cleaned.angle_deg) > UPRIGHT_DEG
    everything = [value for values in found.values() for value in values]
    collimated = [value for kind, values in found.items() if kind != "none" for value in values]
    print(f"{given.images} phantoms; after decoding: median {statistics.median(milliseconds):.1f} ms, "
          f"90th percentile {np.percentile(milliseconds, 90):.1f} ms\n")  # fmt: skip
    print(f"{'collimation':14s} {'images':>6s} {'median IoU':>10s} {'5th percentile':>14s} {'below 0.85':>10s}")
    for kind, values in [*sorted(found.items()), ("all collimated", collimated), ("all", everything)]:
        print(f"{kind:14s} {len(values):6d} {np.median(values):10.3f} {np.percentile(values, 5):14.3f} "
              f"{np.mean(np.array(values) < GOAL_FIFTH):10.1%}")  # fmt: skip
    print(f"upright fields turned by more than {UPRIGHT_DEG:g} degree: {turned}")
    print(", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
    results = {
        "after_decoding_ms": result(round(statistics.median(milliseconds), 2), GOAL_MS, least=False),
        "field_iou_median": result(round(float(np.median(everything)), 4), GOAL_MEDIAN),
        "field_iou_fifth_percentile": result(round(float(np.percentile(everything, 5)), 4), GOAL_FIFTH),
        "collimated_iou_median": result(round(float(np.median(collimated)), 4), GOAL_MEDIAN),
        "collimated_iou_fifth_percentile": result(round(float(np.percentile(collimated, 5)), 4), GOAL_FIFTH),
        "upright_fields_turned": result(turned, 0, least=False),
    }
    print_results("clean", ("opencv-python-headless", "numpy"), results)


if __name__ == "__main__":
    main()
