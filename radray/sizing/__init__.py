"""How long an archive takes on a cluster, what limits it, what it costs: a model of the index and score jobs."""
