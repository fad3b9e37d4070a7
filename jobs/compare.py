"""Compare the predictions of two bundles on one archive: what changed.

python jobs/compare.py --before out/predictions/version=3f0c… --after out/predictions --output out/changes
"""

from radray.cli import run_job
from radray.score.compare_config import CompareConfig

if __name__ == "__main__":
    run_job(CompareConfig, "radray.score.compare:run_compare")
