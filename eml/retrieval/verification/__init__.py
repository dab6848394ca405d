"""Pairs, thresholds and the calibration of answers."""
