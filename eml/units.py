"""Units of memory."""

MIB = 2**20
"""Bytes in a mebibyte."""
