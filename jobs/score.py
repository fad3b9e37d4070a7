"""Give every object of an archive its anatomical region, or a reason why it has none; exactly one row each.

python jobs/score.py --archive archive --bundle out/probe/bundle --output out/predictions
"""

from radray.cli import run_job
from radray.score.config import ScoreConfig

if __name__ == "__main__":
    run_job(ScoreConfig, "radray.score.stage:run_score")
