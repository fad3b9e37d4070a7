"""Write a synthetic PACS export and, apart from it, the truth of every object.

python jobs/phantom.py --output demo/archive --images 1500 --side-px 256 --workers 0
"""

from radray.cli import run_job
from radray.phantom.config import PhantomConfig

if __name__ == "__main__":
    run_job(PhantomConfig, "radray.phantom.export:write_phantom")
