"""A node is lost that Ray Data needs for every job, and the next pass goes on: python tests/lost_tracker.py STORE."""

import sys

import ray
from ray.cluster_utils import Cluster
from ray.data._internal.execution.node_trackers.actor_location import ActorLocationTracker

from radray import cluster, streaming
from tests.test_streaming import ROWS, a_pass, write_source

if __name__ == "__main__":
    store = sys.argv[1]
    node = {"num_cpus": 2, "object_store_memory": 100 << 20}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    lost = nodes.add_node(**node)
    nodes.wait_for_nodes(timeout=120)
    ray.init(nodes.address, log_to_driver=False)
    there = {ray._raylet.RAY_NODE_ID_KEY: lost.node_id}
    names = {"name": "ActorLocationTracker", "namespace": "ActorLocationTracker", "lifetime": "detached"}
    tracker = ActorLocationTracker.options(**names, label_selector=there).remote()
    ray.get(tracker.__ray_ready__.remote())
    assert not cluster.drop_lost_trackers(), "it is there"
    nodes.remove_node(lost, allow_graceful=False)
    write_source(f"{store}/source")
    assert streaming.run(a_pass(store)) == ROWS
    ray.shutdown()
    nodes.shutdown()
