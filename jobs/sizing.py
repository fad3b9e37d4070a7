"""How long an archive takes on a cluster, what limits it, and what it costs; see docs/sizing.md. Starts no Ray.

python jobs/sizing.py --objects 10000000 --nodes 4 --cores 16
"""

from radray.cli import run_job
from radray.sizing.config import SizingConfig

if __name__ == "__main__":
    run_job(SizingConfig, "radray.sizing.stage:run_sizing")
