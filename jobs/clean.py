"""Fetch, decode and clean every radiograph of an index.

On a laptop: python jobs/clean.py --index index/ --output images/
On a cluster: ray job submit --address http://head:8265 -- python jobs/clean.py --index s3://radray/index --output s3://radray/images
"""

from radray.cli import run_job
from radray.images.config import CleanConfig

if __name__ == "__main__":
    run_job(CleanConfig, "radray.images.clean_stage:run_clean")
