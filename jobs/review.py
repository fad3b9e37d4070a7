"""Review the queue on this machine; each verdict is appended to verdicts.csv at once.

python jobs/review.py --findings out/findings
python jobs/review.py --findings out/findings --reviewer "A. Name" "B. Name"    # a URL for each, printed once
python jobs/review.py --findings out/findings --summary                         # agreement and accuracy
"""

from radray.cli import run_job
from radray.review.config import ReviewConfig

if __name__ == "__main__":
    run_job(ReviewConfig, "radray.review.server:run_review")
