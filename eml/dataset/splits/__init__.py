"""Splits, folds, groups and the audit of leaks."""
