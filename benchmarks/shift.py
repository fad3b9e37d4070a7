"""The hospital never seen: accuracy, confidence and abstention on radiographs unlike those that were learned from.

Takes a folder with archive/ (DICOM) and labels.csv (path, region, source, split) and builds bundles from it by the
jobs' own stages: with the product's defaults, and with cleaning, views or normalisation switched off. Each is measured
on the test split as it is and as other scanners and archives would have stored it (`shifts.py`), from the decoded grey
values on. Then one source of each region that has two is left out of everything and measured alone, both ways round.

python benchmarks/shift.py --real FOLDER --output FOLDER [--variants defaults no_views] [--parts 0] [--every 2]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from common import print_results, result
from real_archive import REGIONS, prepare, read_truth
from shifts import SHIFTS, Grey

from radray import storage
from radray.cleaning.composition import clean
from radray.cleaning.config import CleaningConfig
from radray.dicom.pixels import PixelLimits, decode
from radray.ensemble import Bundle
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import ObjectError
from radray.images.reading import load_cleaning, save_cleaning
from radray.pretrain.config import MethodName, PretrainConfig
from radray.pretrain.stage import run_all
from radray.probe import metrics
from radray.probe.config import ProbeConfig
from radray.probe.stage import run_probe

AS_IS = "as_is"
SIDE = 128
CLEANING = {
    "defaults": CleaningConfig(side_px=SIDE),
    "no_cleaning": CleaningConfig(
        side_px=SIDE,
        crop_borders=False,
        crop_field=False,
        rotate_field=False,
        crop_anatomy=False,
        mask_text=False,
    ),
    "no_normalisation": CleaningConfig(side_px=SIDE, low_quantile=0.0, high_quantile=1.0, tone="none"),
    "no_views": CleaningConfig(side_px=SIDE),
}
"""What each variant does to images; no_views trains on crops and mirror images alone. All tell turned images."""
PARTS = (("fracatlas", "armiro"), ("LittleBeanBun", "radinformatics", "radoss-org", "asalmada"))
"""Two groups of sources: each is left out in turn, in the regions that both hold."""
TWICE = ("shoulder", "hand", "pelvis", "chest")
Rows = list[dict[str, str]]


def build(variant: str, rows: Rows, place: Path, given: argparse.Namespace) -> Bundle:
    """Index and clean, then train; what is there already is taken as it is."""
    images, truth = prepare(rows, place, CLEANING[variant])
    return train(variant, images, truth, place, given)


def train(variant: str, images: str, truth: str, place: Path, given: argparse.Namespace) -> Bundle:
    """Train and probe."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    run_all(
        [
            PretrainConfig(
                images=images,
                output=str(place / "runs" / method),
                method=method,
                recipe=given.recipe,
                views="crops" if variant == "no_views" else "recipe",
                epochs=count,
                threads=threads,
            )
            for method, count in given.epochs
        ]
    )
    probe = str(place / "probe")
    run_probe(
        ProbeConfig(
            images=images,
            runs=(str(place / "runs"), *given.also),
            output=probe,
            regions=REGIONS,
            truth=truth,
            budgets=("all",),
        )
    )
    return Bundle.load(probe + "/bundle", device="cpu")


def shifted(row: dict[str, str], number: int, shift: str, side_px: int) -> Grey:
    """An object's grey values, shifted; the same for every variant."""
    grey = decode(Path(row["uri"]).read_bytes(), side_px=side_px, limits=PixelLimits()).grey
    if shift == AS_IS:
        return grey
    return SHIFTS[shift](np.ascontiguousarray(grey), np.random.default_rng([len(shift), number]))


def answer(bundle: Bundle, greys: Iterable[Grey]) -> dict[str, npt.NDArray[Any]]:
    """What scoring would say: probabilities (0 where cleaning refuses an image) and abstained, of each image."""
    images: list[npt.NDArray[np.uint8] | None] = []
    inverses = []
    for grey in greys:
        images.append(_clean(grey, bundle.cleaning))
        inverses.append(grey)
    held = [place for place, image in enumerate(images) if image is not None]
    found = bundle.predict(np.stack([image for image in images if image is not None]))
    probabilities = np.zeros((len(images), len(bundle.regions)), np.float32)
    abstained = np.ones(len(images), bool)
    probabilities[held], abstained[held] = found.probabilities, found.abstained
    for index in np.flatnonzero(found.inverted >= SUSPECT):
        image = _clean(1 - inverses[held[index]], bundle.cleaning)
        if image is None:
            continue
        second = bundle.predict(image[None])
        if is_inverted(float(found.inverted[index]), float(second.inverted[0])):
            probabilities[held[index]], abstained[held[index]] = second.probabilities[0], second.abstained[0]
    return {"probabilities": probabilities, "abstained": abstained}


def _clean(grey: Grey, cleaning: CleaningConfig) -> npt.NDArray[np.uint8] | None:
    try:
        return clean(grey, cleaning).image
    except ObjectError:
        return None


def measure(bundle: Bundle, rows: Rows, shift: str) -> dict[str, float]:
    """Figures of a bundle on some images under a shift; a refused image counts as wrong, with no confidence."""
    truth = np.array([bundle.regions.names.index(row["region"]) for row in rows])
    found = answer(bundle, (shifted(row, number, shift, bundle.cleaning.working_px) for number, row in enumerate(rows)))
    probabilities, answered = found["probabilities"], ~found["abstained"]
    right = probabilities.argmax(axis=1) == truth
    right[probabilities.max(axis=1) == 0] = False
    low, high = metrics.patient_interval(right, [row["group"] for row in rows])
    return {
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "confidence": float(probabilities.max(axis=1).mean()),
        "calibration error": metrics.calibration_error(probabilities, truth),
        "abstained": float(1 - answered.mean()),
        "accuracy of the answered": float(right[answered].mean()) if answered.any() else float("nan"),
    }


def print_row(name: str, own: dict[str, float], base: float | None) -> None:
    """One line of the table."""
    kept = "" if base is None else f"{own['accuracy'] / base:6.2f}"
    print(
        f"{name:<34}{own['accuracy']:.3f} ({own['low']:.3f} – {own['high']:.3f}){kept:>8}   "
        f"confidence {own['confidence']:.3f}  calibration error {own['calibration error']:.3f}  "
        f"abstained {own['abstained']:.3f}  of the answered right {own['accuracy of the answered']:.3f}",
        flush=True,
    )


def measure_variant(variant: str, bundle: Bundle, rows: Rows) -> dict[str, dict[str, float]]:
    """All shifts of one variant, printed."""
    found: dict[str, dict[str, float]] = {}
    for shift in (AS_IS, *SHIFTS):
        started = time.monotonic()
        found[shift] = measure(bundle, rows, shift)
        print_row(f"{variant}, {shift}", found[shift], found[AS_IS]["accuracy"])
        print(f"{len(rows) / (time.monotonic() - started):.0f} images/s", file=sys.stderr)
    return found


def leave_out(part: int, rows: Rows) -> tuple[Rows, Rows]:
    """Rows to learn from (their own splits), and all images of the regions and sources left out."""
    out = [row for row in rows if row["source"] in PARTS[part] and row["region"] in TWICE]
    names = {row["uri"] for row in out}
    return [row for row in rows if row["uri"] not in names], out


def keep_images(images: str, uris: list[str], output: str) -> None:
    """Write an images table with some of another's rows."""
    for file in storage.list_files(images, ".parquet"):
        some = storage.read_table(file, filter=pc.field("uri").isin(uris))
        storage.write_table(storage.join(output, file.rsplit("/", 1)[-1]), some)
    save_cleaning(output, load_cleaning(images))


def draw(rows: Rows, place: str) -> None:
    """Four images under every shift, and what cleaning makes of them, on one PNG."""
    cells = []
    for number, row in enumerate(rows):
        greys = [shifted(row, number, shift, 512) for shift in (AS_IS, *SHIFTS)]
        cells.append(np.hstack([_tile(np.round(grey * 255).astype(np.uint8)) for grey in greys]))
        images = [_clean(grey, CLEANING["defaults"]) for grey in greys]
        cells.append(
            np.hstack([_tile(image if image is not None else np.zeros((SIDE, SIDE), np.uint8)) for image in images])
        )
    cv2.imwrite(place, np.vstack(cells))


def _tile(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = SIDE / max(image.shape)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((SIDE + 2, SIDE + 2), 96, np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile


def variants(given: argparse.Namespace, rows: Rows, test: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metrics of the shifts."""
    found = {}
    for variant in given.variants:
        bundle = build(variant, rows, given.output.resolve() / variant, given)
        found[variant] = measure_variant(variant, bundle, test)
        if variant == "defaults":
            bundle.pose = None
            found["no_pose"] = measure_variant("no_pose", bundle, test)
    base = found.get("defaults")
    if base is None:
        return
    for shift, own in base.items():
        if shift != AS_IS:
            yield (
                f"{shift}, share of the accuracy kept",
                result(round(own["accuracy"] / base[AS_IS]["accuracy"], 3), 0.9),
            )
        yield f"{shift}, calibration error", result(round(own["calibration error"], 4))
    for variant, other in found.items():
        if variant != "defaults":
            means = [float(np.mean([each[shift]["accuracy"] for shift in SHIFTS])) for each in (base, other)]
            yield (
                f"mean accuracy over the shifts, defaults against {variant}",
                result(round(means[0], 4), round(means[1] + 1e-4, 4), round(means[1], 4)),
            )


def left_out(given: argparse.Namespace, rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metrics of sources never seen."""
    for part in given.parts:
        learned, unseen = leave_out(part, rows)
        place = given.output.resolve()
        images, truth = prepare(rows, place / "defaults", CLEANING["defaults"])
        fewer = str(place / f"without_{part}" / "images")
        if not storage.exists(fewer):
            keep_images(images, [row["uri"] for row in learned], fewer)
        bundle = train("defaults", fewer, truth, place / f"without_{part}", given)
        seen = [row for row in learned if row["split"] == "test" and row["region"] in TWICE]
        name = "without " + ", ".join(PARTS[part])
        base = measure(bundle, seen, AS_IS)
        print_row(f"{name}: seen sources", base, None)
        own = measure(bundle, unseen, AS_IS)
        print_row(f"{name}: left out", own, base["accuracy"])
        for region in TWICE:
            some = [row for row in unseen if row["region"] == region]
            print_row(f"  {region} ({len(some)})", measure(bundle, some, AS_IS), None)
        yield f"{name}: share of the accuracy kept", result(round(own["accuracy"] / base["accuracy"], 3), 0.9)
        yield (
            f"{name}: confidence, unseen less seen",
            result(round(own["confidence"] - base["confidence"], 3), 0.0, least=False),
        )
        yield f"{name}: abstained, unseen less seen", result(round(own["abstained"] - base["abstained"], 3), 0.0)
        yield f"{name}: calibration error", result(round(own["calibration error"], 4))


def _epochs(text: str) -> tuple[MethodName, float]:
    """simclr=4: what to train, and for how long."""
    method, count = text.split("=")
    if method not in get_args(MethodName):
        raise argparse.ArgumentTypeError(f"{method} is no method; choose one of {', '.join(get_args(MethodName))}")
    return cast(MethodName, method), float(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--recipe", default="cpu_small")
    parser.add_argument(
        "--epochs", type=_epochs, nargs="+", default=(("simclr", 4.0), ("supervised", 8.0)), metavar="METHOD=N"
    )
    parser.add_argument("--also", nargs="*", default=("imagenet",), help="members that are not trained here")
    parser.add_argument("--variants", nargs="*", default=list(CLEANING), choices=list(CLEANING))
    parser.add_argument("--parts", type=int, nargs="*", default=(0, 1), choices=(0, 1))
    parser.add_argument("--every", type=int, default=1, help="measure the shifts on every so many test images")
    parser.add_argument("--picture", help="where to draw some images under every shift")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = [row for row in read_truth(given.real.resolve())]
    test = [row for row in rows if row["split"] == "test" and row["region"]][:: given.every]
    if given.picture:
        draw(test[:: len(test) // 4][:4], given.picture)
    results = dict(variants(given, rows, test))
    results |= dict(left_out(given, rows))
    print_results("shift", ("torch", "ray", "lightly"), results)


if __name__ == "__main__":
    main()
