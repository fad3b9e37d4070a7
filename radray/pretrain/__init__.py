"""Pre-training: one file a method, one loop."""
