"""The index stage: every object of an archive becomes one row of header facts."""
