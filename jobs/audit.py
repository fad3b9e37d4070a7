"""Find wrong and missing labels, out-of-domain images and near-duplicates; write the queue and its review page.

python jobs/audit.py --predictions out/predictions --images out/images --probe out/probe --output out/findings
"""

from radray.audit.config import AuditConfig
from radray.cli import run_job

if __name__ == "__main__":
    run_job(AuditConfig, "radray.audit.stage:run_audit")
