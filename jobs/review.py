"""Review the queue on this machine; each verdict is appended to verdicts.csv at once.

python jobs/review.py --findings out/findings
"""

from radray.audit.config import ReviewConfig
from radray.cli import run_job

if __name__ == "__main__":
    run_job(ReviewConfig, "radray.audit.review_server:run_review")
