"""The driver that test_streaming.py starts and kills: python tests/streaming_driver.py STORE SECONDS_PER_ROW.

Its cluster says that it has a GPU, so that the second class gets its workers as on one that has.
"""

import sys

from radray import streaming
from tests.conftest import start_ray
from tests.test_streaming import Counting, a_pass

if __name__ == "__main__":
    start_ray(
        num_cpus=2, num_gpus=1
    )  # fewer than the actor pool, the reader, the writer and Ray's own filter would want
    slow = {"seconds_per_row": float(sys.argv[2])}
    streaming.run(a_pass(sys.argv[1], arguments=slow, then=Counting, then_arguments={"start": 0}, gpus_per_worker=0.5))
