"""List an archive and read every header.

On a laptop: RADRAY_PATIENT_KEY=$(openssl rand -hex 32) python jobs/index.py --archive export/ --output index/
On a cluster: ray job submit --address http://head:8265 -- python jobs/index.py --archive s3://pacs/export --output s3://radray/index
"""

from radray.cli import run_job
from radray.index.config import IndexConfig

if __name__ == "__main__":
    run_job(IndexConfig, "radray.index.stage:run_index")
