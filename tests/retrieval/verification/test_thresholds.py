import numpy as np

from eml.retrieval.verification.thresholds import ends_of_ties, lowest_within


def test_the_lowest_threshold_within_keeps_ties_together() -> None:
    similarity, ones = np.array([0.9, 0.8, 0.8, 0.8, 0.5]), np.ones(5)
    allowed = np.array([0.5, 1, 3.9, 4, 5])
    assert lowest_within(similarity, ones, allowed)[1:].tolist() == [0.9, 0.9, 0.8, 0.5]
    assert 0.9 < lowest_within(similarity, ones, allowed)[0] < 0.9001
    assert lowest_within(similarity, np.array([0, 1, 1, 1, 0.0]), allowed)[[3, 4]].tolist() == [0.8, 0.8]
    assert np.isnan(lowest_within(similarity, 0 * ones, allowed)).all()
    assert ends_of_ties(similarity).tolist() == [True, False, False, True, True]
