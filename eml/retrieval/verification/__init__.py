"""Decisions by a threshold on the cosine: pairs of images, open-set answers, and the calibration of the threshold.

`calibrate` chooses a threshold for a `Goal` on an `OpenSet`; `measure_acceptance` tells what a threshold does on one.
`verification_metrics` (AUC, EER, TAR@FAR) are those of pairs counted by `all_pairs`, `verify_listed_pairs` those of
the pairs of a file.
"""

from eml.retrieval.verification.acceptance import measure_acceptance
from eml.retrieval.verification.calibration import BINS, RESAMPLES, SEED, ThresholdCalibration, calibrate
from eml.retrieval.verification.crossed_pairs import all_crossed_pairs
from eml.retrieval.verification.goal_checks import Goal, Kind, refuse_hopeless
from eml.retrieval.verification.open_set import OpenSet, OpenSetAnswers, find_answers
from eml.retrieval.verification.pair_counts import AcceptedPairs, all_pairs, count_pairs
from eml.retrieval.verification.pair_rates import TAR, curve, shown, verification_metrics, verify_listed_pairs
from eml.retrieval.verification.pairs import Pairs, read_pairs
from eml.retrieval.verification.templates import is_template_pairs, verify_templates

__all__ = [
    "BINS",
    "RESAMPLES",
    "SEED",
    "TAR",
    "AcceptedPairs",
    "Goal",
    "Kind",
    "OpenSet",
    "OpenSetAnswers",
    "Pairs",
    "ThresholdCalibration",
    "all_crossed_pairs",
    "all_pairs",
    "calibrate",
    "count_pairs",
    "curve",
    "find_answers",
    "is_template_pairs",
    "measure_acceptance",
    "read_pairs",
    "refuse_hopeless",
    "shown",
    "verification_metrics",
    "verify_listed_pairs",
    "verify_templates",
]
