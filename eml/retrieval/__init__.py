"""Exact nearest neighbours → ranks of the right answers → metrics."""
