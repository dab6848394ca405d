"""Histograms hold every value once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.reports.bins import MOST, histogram

whole_numbers = st.lists(st.one_of(st.integers(0, 30), st.integers(0, 10**6)), min_size=1, max_size=200)


@settings(deadline=None)
@given(whole_numbers)
def test_a_histogram_holds_every_value_once_in_adjoining_bins(values: list[int]) -> None:
    bins = histogram(np.array(values))
    assert 1 <= len(bins) <= 2 * MOST
    assert [bar.low for bar in bins[1:]] == [bar.high + 1 for bar in bins[:-1]]
    assert [bar.count for bar in bins] == [sum(bar.low <= value <= bar.high for value in values) for bar in bins]
