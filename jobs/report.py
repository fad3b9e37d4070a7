r"""One HTML page that opens offline, from whatever stages there are; PNG and CSV files beside it.

python jobs/report.py --output out/report --index out/index --images out/images --probe out/probe \
    --predictions out/predictions --findings out/findings
"""

from radray.cli import run_job
from radray.report.config import ReportConfig

if __name__ == "__main__":
    run_job(ReportConfig, "radray.report.stage:run_report")
