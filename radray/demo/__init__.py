"""The whole way once, small: a synthetic archive through every stage to a report."""
