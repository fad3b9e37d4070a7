"""Bulk scoring: archive and bundle to predictions, one streaming pass."""
