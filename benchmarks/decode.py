"""A 5-megapixel radiograph from DICOM bytes to 256 pixels, in every transfer syntax, against the plain recipe.

The plain recipe: pydicom.dcmread of the whole object, the full-size pixel array by pydicom's fastest permissively
licensed plug-in (named in the table), apply_modality_lut, apply_voi_lut, cv2.resize (area). Both run on one core, in
turns; radray's time includes its decoding child process. The mix is that of the phantom archive.

python benchmarks/decode.py [--repeats 7] [--side-px 256]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
from common import print_results, result
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from radray.dicom.pixels import decode
from radray.phantom.encoding import SYNTAXES, Stored, add_pixels, file_bytes
from radray.phantom.radiograph import render_radiograph

ROWS, COLUMNS = 2500, 2048
HTJ2K = "1.2.840.10008.1.2.4.201"
GOALS = {"1.2.840.10008.1.2.4.90": 15.0, "1.2.840.10008.1.2.4.91": 15.0}
GOALS |= dict.fromkeys(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), 3.0)
GOAL_MIX, GOAL_RMS = 5.0, 0.01
START_S = 8

Grey = NDArray[np.float32]


def make_objects() -> dict[str, bytes]:
    """One radiograph in every transfer syntax, 12 bits where the syntax takes them."""
    drawn = render_radiograph("knee", np.random.default_rng(7), ROWS).pixels
    grey = cv2.resize(drawn, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).clip(0, 1)
    objects = {}
    for uid in (*(syntax.uid for syntax in SYNTAXES), HTJ2K):
        bits = 8 if uid.endswith("4.50") else 12
        top = (1 << bits) - 1
        samples = np.round(grey * top).astype(np.uint8 if bits == 8 else np.uint16)
        window = {} if bits == 8 else {"WindowCenter": str((top + 1) / 2), "WindowWidth": str(top + 1)}
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", "DX"
        native = uid if uid != HTJ2K else "1.2.840.10008.1.2.1"
        add_pixels(
            dataset, Stored(samples=samples, syntax=native, bits=bits, photometric="MONOCHROME2", elements=dict(window))
        )
        if uid == HTJ2K:
            frame = bytes(imagecodecs.htj2k_encode(samples, reversible=True))
            dataset.add_new("PixelData", "OB", encapsulate([frame]))
            dataset["PixelData"].is_undefined_length = True
        objects[uid] = file_bytes(dataset, uid)
    return objects


def plain_recipe(body: bytes, side_px: int, plugin: str) -> Grey:
    """What a careful script without radray does."""
    dataset = dcmread(BytesIO(body))
    stored = pixel_array(dataset, decoding_plugin=plugin)
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    scale = side_px / max(values.shape)
    size = (round(values.shape[1] * scale), round(values.shape[0] * scale))
    small = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small / ((1 << dataset.BitsStored) - 1), np.float32)


def plugins(uid: str) -> tuple[str, ...]:
    """pydicom's plug-ins that can read a transfer syntax here; "" for uncompressed ones."""
    decoder = get_decoder(UID(uid))
    return tuple(sorted(decoder.available_plugins)) if UID(uid).is_encapsulated else ("",)


def works(recipe: Callable[[], Grey]) -> bool:
    """Whether a plug-in reads the object; some refuse 12 bits."""
    try:
        recipe()
    except Exception as error:  # plug-ins raise what they like
        print(f"  ({type(error).__name__}: {' '.join(str(error).split())[:140]})")
        return False
    return True


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print a table and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--side-px", type=int, default=256)
    given = options.parse_args()
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    names = {syntax.uid: UID(syntax.uid).name for syntax in SYNTAXES} | {HTJ2K: UID(HTJ2K).name}
    weights = {syntax.uid: syntax.weight for syntax in SYNTAXES}
    print(f"{ROWS} × {COLUMNS} to {given.side_px} px, one core, median of {given.repeats}\n")
    print(f"{'transfer syntax':58s} {'plug-in':12s} {'plain ms':>9s} {'radray ms':>9s} {'ratio':>6s} {'RMS %':>6s}")
    results, mix, worst = {}, [0.0, 0.0], 0.0
    ratios: list[tuple[float, float]] = []
    objects = make_objects()
    decode(objects[HTJ2K], side_px=given.side_px)
    time.sleep(START_S)  # until the decoding child that stands by has started: it takes a core while it does
    for uid, body in objects.items():
        ours = partial(decode, body, side_px=given.side_px)
        image = ours().grey
        recipes = {name: partial(plain_recipe, body, given.side_px, name) for name in plugins(uid)}
        recipes = {name: recipe for name, recipe in recipes.items() if works(recipe)}
        if not recipes:
            print(f"{names[uid][:58]:58s} none: pydicom has no permissive plug-in here")
            continue
        plugin = min(recipes, key=lambda name: min(seconds(recipes[name]) for _ in range(2)))
        difference = float(np.sqrt(np.mean((recipes[plugin]() - image) ** 2)) / np.ptp(image))
        times = [(seconds(recipes[plugin]), seconds(ours)) for _ in range(given.repeats)]
        slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{names[uid][:58]:58s} {plugin or 'numpy':12s} {slow * 1e3:9.1f} {fast * 1e3:9.1f} {slow / fast:6.1f} "
            f"{difference:6.2%}"
        )
        results[f"ratio_{uid}"] = result(round(slow / fast, 2), GOALS.get(uid), 1.0)
        results[f"rms_{uid}"] = result(round(difference, 5), GOAL_RMS, least=False)
        worst = max(worst, difference)
        mix[0] += weights.get(uid, 0.0) * slow
        mix[1] += weights.get(uid, 0.0) * fast
        ratios += [(weights.get(uid, 0.0), slow / fast)]
    ratio, mean = mix[0] / mix[1], sum(weight * own for weight, own in ratios) / sum(weight for weight, _ in ratios)
    print(f"\nover the mix: {ratio:.1f} times as fast in all, {mean:.1f} the mean of the ratios; "
          f"largest RMS difference {worst:.2%} of the range")  # fmt: skip
    results["ratio_mix"] = result(round(ratio, 2), GOAL_MIX, 1.0)
    results["mean_ratio_over_mix"] = result(round(mean, 2), GOAL_MIX, 1.0)
    print_results("decode", ("pydicom", "imagecodecs", "pillow", "opencv-python-headless", "numpy"), results)


if __name__ == "__main__":
    main()
