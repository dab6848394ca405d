"""Where no query has a positive, the cause that is at work is named."""

import numpy as np
import pandas as pd
import pytest

from eml.errors import DataError
from eml.evaluation.positives import positive_counts, refuse_without_positives
from eml.evaluation.retrieval_set import build_retrieval_set


def problem(frame: pd.DataFrame, **columns: str) -> tuple[str, str | None]:
    retrieval = build_retrieval_set(frame, "test.csv", **columns)
    with pytest.raises(DataError) as caught:
        refuse_without_positives(retrieval, "test.csv", **columns)
    [found] = caught.value.problems
    return str(found), found.parameter


def rows(labels: str, **columns: str) -> pd.DataFrame:
    frame = pd.DataFrame({"label": list(labels), "file_name": [f"{n}.png" for n in range(len(labels))]})
    return frame.assign(**{name: list(values) for name, values in columns.items()})


def test_each_cause_is_named_with_the_parameter_to_blame() -> None:
    one_camera = rows("aabb", camera="XXXX")
    text, parameter = problem(one_camera, leave_out_same="camera")
    assert text == (
        "test.csv: no query has a positive (another image of its class in its gallery): all images have camera 'X', so "
        "`leave_out_same` camera leaves out every positive. Leave out `leave_out_same`, or give images of each class "
        "from several cameras"
    )
    assert parameter == "leave_out_same"
    text, parameter = problem(rows("aabb", camera="XXYY"), leave_out_same="camera")
    assert "each class has images of one camera only" in text
    text, parameter = problem(rows("abcd"))
    assert (text.partition("gallery): ")[2], parameter) == (
        "each class has 1 image. Give classes with at least 2 images",
        "data",
    )
    assert "each class has 1 image" in problem(rows("abcd", camera="XXXX"), leave_out_same="camera")[0]
    text, parameter = problem(rows("aabb", kind="1212"), within="kind")
    assert "within each value of kind, no query's class has another image" in text
    assert parameter == "within"
    both = rows("aaabbb", camera="XXYXXY", kind="112112")
    text, parameter = problem(both, leave_out_same="camera", within="kind")
    assert "without the images of the query's camera, no class has an image of the same kind left" in text


def test_a_gallery_of_other_classes_is_named() -> None:
    frame = rows("abcc").assign(is_query=[True, True, False, False], is_gallery=[False, False, True, True])
    assert "the queries are of 2 classes, the gallery is of 1 others" in problem(frame)[0]
    frame = rows("abcc").assign(is_query=[True, True, False, False], is_gallery=[True, True, True, True])
    assert "the only gallery image of a query's class is the query itself" in problem(frame)[0]


@pytest.mark.parametrize("columns", [{}, {"leave_out_same": "camera"}, {"within": "kind"},
                                     {"leave_out_same": "camera", "within": "kind"}])  # fmt: skip
def test_positives_are_counted_as_a_loop_counts_them(columns: dict[str, str]) -> None:
    random = np.random.default_rng(0)
    for flags in (False, True):
        frame = rows("".join(random.choice(list("abc"), 30)))
        frame["camera"], frame["kind"] = random.choice(["", "X", "Y"], 30), random.choice(["1", "2"], 30)
        if flags:
            frame["is_query"], frame["is_gallery"] = random.random(30) < 0.6, random.random(30) < 0.6
        retrieval = build_retrieval_set(frame, "test.csv", **columns)
        used = retrieval.frame

        def is_positive(query: int, image: int, used: pd.DataFrame = used) -> bool:
            first, second = used.iloc[query], used.iloc[image]
            if query == image or first["label"] != second["label"]:
                return False
            if "within" in columns and first["kind"] != second["kind"]:
                return False
            return "leave_out_same" not in columns or not first["camera"] or first["camera"] != second["camera"]

        expected = [sum(is_positive(query, image) for image in retrieval.gallery) for query in retrieval.queries]
        assert positive_counts(retrieval).tolist() == expected
