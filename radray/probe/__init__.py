"""Frozen features, linear heads, label budgets, calibration, and the bundle made of them."""
