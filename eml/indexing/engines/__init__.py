"""Approximate search in one segment of an index: a file for each package that does it."""
