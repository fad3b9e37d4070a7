"""Figures and the one HTML page that tells what the stages found."""
