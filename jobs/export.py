r"""A bundle as one program for other software (torch.export), equal to the bundle to 0.001.

python jobs/export.py --bundle out/probe/bundle --output out/export
"""

from radray.cli import run_job
from radray.ensemble.config import ExportConfig

if __name__ == "__main__":
    run_job(ExportConfig, "radray.ensemble.exporting:run_export")
