"""What tells a next version's records from ours."""

FIELD = "x"
"""A field that this version does not know, and that `tests.faults.newer` writes."""
