"""Two bundles on one archive: counts and changes beside a slow twin, on more parts than one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from radray import storage
from radray.errors import ConfigError
from radray.score import compare
from radray.score.compare import run_compare
from radray.score.compare_config import CompareConfig
from radray.tables import predictions_schema

REGIONS = ("knee", "hand", "skull")


def write_predictions(folder: str, *, seed: int, objects: range, bundle: str) -> list[dict[str, Any]]:
    """Rows in any order, over several files."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in rng.permutation(objects):
        ok = rng.random() < 0.8
        region, label = str(rng.choice(REGIONS)), REGIONS[number % 3] if number % 5 else None
        row = dict.fromkeys(predictions_schema(3).names)
        row |= {"uri": f"/a/{number}", "row_id": int(number) * 7 + seed, "bundle": bundle, "header_label": label}
        if ok:
            row |= {
                "status": "ok", "region": region, "confidence": float(np.float32(rng.random())),
                "abstained": bool(rng.random() < 0.2), "agrees": None if label is None else label == region,
            }  # fmt: skip
        else:
            row |= {"status": "failed", "reason": str(rng.choice(["corrupt_pixels", "fetch_failed"]))}
        rows.append(row)
    for part in range(0, len(rows), 70):
        table = pa.Table.from_pylist(rows[part : part + 70], schema=predictions_schema(3))
        storage.write_table(storage.join(folder, f"{part:05d}.parquet"), table)
    return rows


def test_the_same_as_a_slow_twin(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "_ROWS_PER_PART", 50)
    before, after = storage.join(store, "version=a"), storage.join(store, "version=b")
    old = {row["uri"]: row for row in write_predictions(before, seed=1, objects=range(300), bundle="A")}
    new = {row["uri"]: row for row in write_predictions(after, seed=2, objects=range(20, 330), bundle="B")}
    config = CompareConfig(before=before, after=after, output=storage.join(store, "changes"))
    config.check()
    found = run_compare(config)

    shared = sorted(old.keys() & new.keys())
    named = [uri for uri in shared if old[uri]["region"] and new[uri]["region"]]
    moved = [uri for uri in named if old[uri]["region"] != new[uri]["region"]]
    assert found["rows_in"] == found["rows_out"] == len(old) + len(new)
    assert (found["objects"], found["in_both"], found["only_before"], found["only_after"]) == (330, 280, 20, 30)
    assert found["compared"] == len(named) and found["region_changed"] == len(moved)
    assert found["agreement"] == pytest.approx(1 - len(moved) / len(named), abs=1e-6)
    pairs = Counter((old[uri]["region"], new[uri]["region"]) for uri in moved)
    assert {(pair["before"], pair["after"]): pair["objects"] for pair in found["changed_pairs"]} == pairs
    counts = [pair["objects"] for pair in found["changed_pairs"]]
    assert counts == sorted(counts, reverse=True)
    assert found["abstained"]["newly"] == sum(new[uri]["abstained"] and not old[uri]["abstained"] for uri in named)
    assert found["abstained"]["no_longer"] == sum(old[uri]["abstained"] and not new[uri]["abstained"] for uri in named)
    gaps = [abs(old[uri]["confidence"] - new[uri]["confidence"]) for uri in named]
    assert found["confidence"]["mean_difference"] == pytest.approx(np.mean(gaps), abs=1e-4)
    judged = Counter((old[uri]["agrees"], new[uri]["agrees"]) for uri in named if old[uri]["agrees"] is not None)
    assert found["against_header"] == {
        "both_agree": judged[True, True],
        "only_before_agrees": judged[True, False],
        "only_after_agrees": judged[False, True],
        "neither_agrees": judged[False, False],
    }
    statuses = Counter(f"{old[uri]['status']} to {new[uri]['status']}" for uri in shared)
    assert found["status_changed"] == {
        name: count for name, count in statuses.items() if len(set(name.split(" to "))) > 1
    }

    changes = storage.read_table(found["changes"]).to_pandas()
    expected = {uri: "only_before" for uri in old.keys() - new.keys()}
    expected |= {uri: "only_after" for uri in new.keys() - old.keys()}
    for uri in shared:
        for name in ("status", "region", "abstained", "reason"):
            if old[uri][name] != new[uri][name]:
                expected[uri] = name
                break
    assert dict(zip(changes["uri"], changes["change"], strict=True)) == expected
    assert changes["uri"].is_unique
    one = changes[changes["change"] == "region"].iloc[0]
    assert (one["region_before"], one["region_after"]) == (old[one["uri"]]["region"], new[one["uri"]]["region"])
    assert f"{len(moved):,}" in capsys.readouterr().out


def test_the_same_predictions_change_nothing(tmp_path: Path) -> None:
    for name in ("version=a", "version=b"):
        write_predictions(str(tmp_path / name), seed=1, objects=range(100), bundle=name)
    config = CompareConfig(
        before=str(tmp_path / "version=a"), after=str(tmp_path / "version=b"), output=str(tmp_path / "o")
    )
    found = run_compare(config)
    assert found["agreement"] == 1.0 and found["region_changed"] == 0 and found["in_both"] == 100
    assert pd.read_parquet(found["changes"]).empty


def test_bad_settings_are_one_line(tmp_path: Path) -> None:
    folder = str(tmp_path / "version=a")
    write_predictions(folder, seed=1, objects=range(3), bundle="A")
    with pytest.raises(ConfigError, match="are the same predictions"):
        CompareConfig(before=folder, after=folder, output=str(tmp_path / "o")).check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="--after .*no finished predictions"):
        CompareConfig(before=folder, after=str(tmp_path / "empty"), output=str(tmp_path / "o")).check()
    write_predictions(str(tmp_path / "version=b"), seed=1, objects=range(3), bundle="B")
    with pytest.raises(ConfigError, match="--output .*holds predictions"):
        CompareConfig(before=folder, after=str(tmp_path / "version=b"), output=folder).check()
