"""Fetch, decode and clean every radiograph of an index.

python jobs/clean.py --index out/index --output out/images
"""

from radray.cli import run_job
from radray.images.config import CleanConfig

if __name__ == "__main__":
    run_job(CleanConfig, "radray.images.clean_stage:run_clean")
