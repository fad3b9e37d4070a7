"""Verdicts and policy to final labels, with their provenance."""
