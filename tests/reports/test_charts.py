"""The labels of a chart are legible."""

import re
from itertools import pairwise

import numpy as np
from hypothesis import given, settings

from eml.reports.bins import histogram
from eml.reports.charts import CHARACTER, WIDTH, bar_chart
from tests.reports.test_bins import whole_numbers


@settings(deadline=None)
@given(whole_numbers)
def test_the_labels_of_an_axis_do_not_touch_and_stay_within_the_chart(values: list[int]) -> None:
    chart = str(bar_chart(histogram(np.array(values)), horizontal="px", vertical="images", label="sizes"))
    texts = re.findall(r'<text text-anchor="middle" x="([\d.]+)" y="([\d.]+)">([\d,]+)</text>', chart)
    assert texts
    spans = sorted((float(x) - CHARACTER * len(t) / 2, float(x) + CHARACTER * len(t) / 2) for x, _, t in texts)
    assert spans[-1][1] <= WIDTH + 0.1
    assert all(end < start for (_, end), (start, _) in pairwise(spans))
