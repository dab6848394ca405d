"""Probabilities and their log odds. SciPy is imported on first use: who only reads a calibration need not have it."""

import numpy as np
from numpy.typing import ArrayLike

from eml.retrieval.array_types import Floats


def expit(log_odds: ArrayLike) -> Floats:
    """Return probabilities, 1/(1 + exp(−x))."""
    from scipy import special

    return np.asarray(special.expit(log_odds), np.float64)


def logit(probabilities: ArrayLike) -> Floats:
    """Return log odds, ln(p/(1 − p))."""
    from scipy import special

    return np.asarray(special.logit(probabilities), np.float64)
