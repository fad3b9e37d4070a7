"""Verdicts and policy to final labels, with their provenance; and the way back: copies, reports, notes, a PACS."""
