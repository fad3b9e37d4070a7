"""From a configuration dataclass to a command line: `--help` is the dataclass's documentation.

    run_job(IndexConfig, "radray.index.stage:run_index")

Parses, checks, only then imports the stage (and with it Ray or torch), runs it, writes `summary.json` into the
output folder and prints the same JSON object as the last line of standard output.
Exit codes: 0 done, 2 bad configuration (one line on standard error), 1 a fault of ours (traceback).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import tyro

from radray.errors import ConfigError

# Arrow reads this when it is first imported, here and in workers of a Ray started here: its other pools keep what
# freed tables held.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


class StageConfig(Protocol):
    """What every stage's configuration offers beside its fields."""

    def check(self) -> None:
        """Look at the URLs and files named; raise ConfigError before any work. Must be fast and import no Ray."""


ConfigT = TypeVar("ConfigT", bound=StageConfig)


def parse(config_type: type[ConfigT], arguments: Sequence[str] | None = None) -> ConfigT:
    """Build the configuration from the command line.

    Raises:
        ConfigError: Unknown option, missing option, or a value out of range: one line.
        SystemExit: Code 0 after `--help`.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(config_type, args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(complaint.getvalue())) from None


def _one_line(box: str) -> str:
    lines = [re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in box.splitlines()[1:]]
    text = " ".join(line for line in lines if line)
    return re.sub(r"\s+", " ", text).strip() or "the command line could not be read; see --help"


def run_job(config_type: type[ConfigT], stage: str, arguments: Sequence[str] | None = None) -> None:
    """Run one job: parse, check, import `stage` ("module:function"), run, print the summary, exit on errors."""
    started = time.monotonic()
    try:
        config = parse(config_type, arguments)
        config.check()
        module, function = stage.split(":")
        run: Callable[[ConfigT], dict[str, Any]] = getattr(importlib.import_module(module), function)
        summary = run(config)
    except ConfigError as error:
        print(f"radray: {error}", file=sys.stderr)
        sys.exit(2)
    summary = {**summary, "seconds": round(time.monotonic() - started, 1)}
    output = getattr(config, "output", None)
    if output and not getattr(config, "writes_nothing", False):
        from radray import storage

        storage.write_json(getattr(config, "summary_url", storage.join(output, "summary.json")), summary)
    print(json.dumps(summary, ensure_ascii=False))
