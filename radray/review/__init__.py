"""A person looks: the queue as a page, its server, verdicts of several reviewers, accuracy after review."""
