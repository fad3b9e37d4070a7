"""A tiny images table of drawn shapes: four regions that a small network tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.images.reading import save_cleaning
from radray.images.split import assign_splits
from radray.tables import IMAGES_SCHEMA, row_id

SIDE = 32
REGIONS = ("knee", "hand", "skull", "ribs")


def draw(region: str, rng: np.random.Generator) -> np.ndarray:
    """A bar, a fan, a ring or stripes, jittered."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    x, y = (int(value) for value in rng.integers(12, 20, 2))
    if region == "knee":
        cv2.line(image, (x, 2), (y, 29), 200, 6)
    elif region == "hand":
        for end in range(2, 31, 6):
            cv2.line(image, (x, 29), (end, 3), 200, 1)
    elif region == "skull":
        cv2.circle(image, (x, y), int(rng.integers(7, 11)), 200, 2)
    else:
        for row in range(3, 30, 5):
            cv2.line(image, (2, row), (29, row + x - 16), 200, 1)
    return np.clip(image + rng.normal(20, 8, image.shape), 0, 255).astype(np.uint8)


def write_images(
    url: str, *, patients: int = 60, wrong: int = 0, files: int = 1, labels: Mapping[int, str] | None = None
) -> pa.Table:
    """An images table with two images a patient and study, some with other labels; returns uri and true region."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(2 * patients):
        region = REGIONS[number // 2 % len(REGIONS)]
        label = REGIONS[(REGIONS.index(region) + 1) % 4] if number < wrong else region
        uri = f"/archive/{number:04d}.dcm"
        rows.append(
            {
                **dict.fromkeys(IMAGES_SCHEMA.names),
                "uri": uri,
                "row_id": row_id(uri),
                "label": (labels or {}).get(number, None if number % 20 == 19 else label),
                "patient": f"p{number // 2}",
                "status": "ok",
                "image": draw(region, rng).tobytes(),
                "side_px": SIDE,
                "flags": [],
            }
        )
    splits = assign_splits([row["patient"] for row in rows], [row["label"] for row in rows])
    table = pa.Table.from_pylist(
        [{**row, "split": split} for row, split in zip(rows, splits, strict=True)], schema=IMAGES_SCHEMA
    )
    for number, rows_of_file in enumerate(np.array_split(np.arange(len(table)), files)):
        storage.write_table(storage.join(url, f"part-{number}.parquet"), table.take(pa.array(rows_of_file)))
    save_cleaning(url, CleaningConfig(side_px=SIDE, working_px=64))
    truth = [REGIONS[number // 2 % len(REGIONS)] for number in range(2 * patients)]
    return pa.table({"uri": table["uri"], "region": truth})
