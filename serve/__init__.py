"""The bundle behind HTTP, on Ray Serve."""
