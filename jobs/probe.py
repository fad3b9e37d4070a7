"""Embed every image once, fit linear heads on frozen features, measure them, and build the bundle.

python jobs/probe.py --images out/images --runs out/runs --output out/probe
"""

from radray.cli import run_job
from radray.probe.config import ProbeConfig

if __name__ == "__main__":
    run_job(ProbeConfig, "radray.probe.stage:run_probe")
