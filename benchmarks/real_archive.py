"""A folder of real radiographs (archive/, labels.csv) as benchmarks use it: indexed, cleaned, with its truth."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from radray.cleaning.config import CleaningConfig
from radray.images.clean_stage import run_clean
from radray.images.config import CleanConfig
from radray.index.config import IndexConfig
from radray.index.stage import run_index

REGIONS = str(Path(__file__).resolve().parents[1] / "examples" / "regions15.json")


def read_truth(real: Path, source: str | None = None) -> list[dict[str, str]]:
    """Rows of labels.csv with `uri`, of one source or of all."""
    with (real / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if source in (None, row["source"])]
    return [{**row, "uri": str(real / row["path"])} for row in rows]


def prepare(rows: Sequence[dict[str, str]], output: Path, cleaning: CleaningConfig) -> tuple[str, str]:
    """Index and clean some objects by the jobs' own stages.

    Args:
        rows: From `read_truth`; `split` is what the images table gets.
        output: Folder for index/, images/ and truth.csv.
        cleaning: How to clean.

    Returns:
        URLs of the images table and of the truth.
    """
    listing, truth = output / "listing.csv", output / "truth.csv"
    output.mkdir(parents=True, exist_ok=True)
    for place, columns in ((listing, ("uri",)), (truth, ("uri", "split", "region"))):
        with place.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    index, images = str(output / "index"), str(output / "images")
    run_index(IndexConfig(archive=str(listing), output=index, patient_key="none", regions=REGIONS))
    run_clean(CleanConfig(index=index, output=images, cleaning=cleaning, split=f"table:{truth}"))
    return images, str(truth)
