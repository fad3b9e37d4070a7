"""docs/sizing.md says what the model says."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from radray import cli
from radray.score.config import ScoreConfig
from radray.sizing.config import SizingConfig

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "sizing.md").read_text()


def test_the_table_is_the_models() -> None:
    printed = subprocess.run(
        [sys.executable, "benchmarks/sizing_clusters.py"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() and printed.strip() in PAGE


def test_the_rates_are_the_defaults() -> None:
    defaults = SizingConfig()
    said = dict(re.findall(r"`--([a-z-]+)` ([\d,.]*\d)", PAGE))
    rates = [field.name for field in fields(SizingConfig) if field.name.endswith("_s") and field.default is not None]
    assert len(rates) >= 6
    for name in rates:
        if not name.startswith("max_"):
            assert float(said[name.replace("_", "-")].replace(",", "")) == getattr(defaults, name), name


def test_the_command_can_be_given() -> None:
    command = re.search(r"^python jobs/sizing\.py (.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert command
    config = cli.parse(SizingConfig, command[1].replace("\\\n", " ").split())
    assert config.price_node_hour == 0.8 and config.max_mib_per_s == 1000
    assert "rows_per_block" in {field.name for field in fields(ScoreConfig)}


def test_the_picture_is_small() -> None:
    assert 5_000 < (CHECKOUT / "docs" / "sizing.png").stat().st_size <= 60_000
