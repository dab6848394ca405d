"""The confidence of all intervals, unless another one is set."""

CONFIDENCE = 0.95
