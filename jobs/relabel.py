"""Final labels from verdicts and policy, and the way back; --dry-run counts first, --undo takes it back.

python jobs/relabel.py --predictions out/predictions --verdicts out/findings/verdicts.csv --output out/labels
python jobs/relabel.py … --copies /secure/copies --sr /secure/reports --stow https://pacs.hospital.local/dicom-web
"""

from radray.cli import run_job
from radray.relabel.config import RelabelConfig

if __name__ == "__main__":
    run_job(RelabelConfig, "radray.relabel.stage:run_relabel")
