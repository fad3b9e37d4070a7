"""A job on a Ray cluster of its own with two logical CPUs: python tests/two_cpus.py JOB OPTIONS.

They are the fewest that must do: fewer than actor pool, reader and writer of a pass want.
"""

import os
import runpy
import sys

from radray.cluster import LOCAL_OBJECT_STORE_BYTES, start_here

if __name__ == "__main__":
    del sys.argv[0]
    if not os.environ.get("RAY_ADDRESS"):
        start_here(num_cpus=2, object_store_memory=LOCAL_OBJECT_STORE_BYTES)
    runpy.run_path(sys.argv[0], run_name="__main__")
