"""What is freed stays with the process: counted in page faults, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNT = """
import resource
import sys
import numpy as np
from radray.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
for _ in range(3):
    np.ones(40 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(40 << 20, np.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(mode: str, **environment: str) -> tuple[str, int]:
    """What `keep_freed_memory` said, and page faults of five arrays of 40 MiB one after another."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, mode], env={**own, **environment}, capture_output=True, text=True, check=True
    )
    said, faults = done.stdout.split()
    return said, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's parameters")
def test_freed_memory_is_used_again_instead_of_asked_for() -> None:
    _, before = count_faults("as it is")
    said, after = count_faults("keep")
    assert said == "True"
    assert after < 50 < before  # whole pages of 4 KiB would be 50,000, huge ones of 2 MiB 100


def test_the_environments_own_settings_go_before() -> None:
    assert count_faults("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
