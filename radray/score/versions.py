"""Predictions of several bundles side by side, and which are the newest.

    predictions/
      latest.json            {"folder": "version=3f0c…", "bundle": digest, "rows": n}
      version=3f0c…/         Parquet of one bundle and configuration
      version=91ab…/         of another

All of them read as one table in which `version` is a column: DuckDB's `read_parquet('predictions/*/*.parquet')`, or
pandas and pyarrow on the folder. `latest_predictions` gives the newest alone.
"""

from __future__ import annotations

from radray import storage
from radray.errors import ConfigError

LATEST = "latest.json"


def version_folder(output: str, key: str) -> str:
    """Where rows made under `key` lie."""
    return storage.join(output, f"version={key[:12]}")


def mark_latest(output: str, folder: str, bundle: str, rows: int) -> None:
    """Name the version that a finished run made."""
    facts = {"folder": folder.rsplit("/", 1)[-1], "bundle": bundle, "rows": rows}
    storage.write_json(storage.join(output, LATEST), facts)


def latest_predictions(url: str) -> str:
    """URL of the folder of Parquet files to read: the newest finished version below `url`, or `url` itself.

    Raises:
        ConfigError: No predictions are there.
    """
    if storage.list_files(url, ".parquet"):
        return storage.normalise_url(url)
    place = storage.join(url, LATEST)
    if not storage.exists(place):
        raise ConfigError(f"{url}: no finished predictions are there; run jobs/score.py to its end")
    return storage.join(storage.normalise_url(url), str(storage.read_json(place)["folder"]))
