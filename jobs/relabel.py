"""Final labels from verdicts and policy; --dry-run counts first, --undo takes it back.

python jobs/relabel.py --predictions out/predictions --verdicts out/findings/verdicts.csv --output out/labels
"""

from radray.cli import run_job
from radray.relabel.config import RelabelConfig

if __name__ == "__main__":
    run_job(RelabelConfig, "radray.relabel.stage:run_relabel")
