"""The driver that test_streaming.py starts and kills: python tests/streaming_driver.py STORE SECONDS_PER_ROW."""

import sys

from radray import streaming
from tests.conftest import start_ray
from tests.test_streaming import a_pass

if __name__ == "__main__":
    start_ray(num_cpus=2)  # fewer than the actor pool, the reader, the writer and Ray's own filter would want
    streaming.run(a_pass(sys.argv[1], arguments={"seconds_per_row": float(sys.argv[2])}))
