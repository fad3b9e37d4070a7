"""The driver that test_streaming.py starts and kills: python tests/streaming_driver.py STORE SECONDS_PER_ROW."""

import logging
import sys

import ray

from radray import storage, streaming
from tests.test_streaming import a_pass

if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=128 << 20,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": storage.environment()},
    )
    streaming.run(a_pass(sys.argv[1], arguments={"seconds_per_row": float(sys.argv[2])}))
