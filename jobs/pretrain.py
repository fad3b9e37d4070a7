"""Train one method on an images table: images → a run folder.

python jobs/pretrain.py --images work/images --output work/runs/simclr --method simclr --recipe cpu_small
"""

from radray.cli import run_job
from radray.pretrain.config import PretrainConfig

if __name__ == "__main__":
    run_job(PretrainConfig, "radray.pretrain.stage:run_pretrain")
