"""The whole way once: a synthetic archive through every stage to demo/report.html.

python jobs/demo.py
"""

from radray.cli import run_job
from radray.demo.config import DemoConfig

if __name__ == "__main__":
    run_job(DemoConfig, "radray.demo.stage:run_demo")
