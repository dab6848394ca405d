"""Images whose label looks wrong, judged by the images that are most similar to them.

`find_suspects` does the whole job; `wrong_table`, `ambiguous_table` and `class_table` are its results as tables.
"""

from eml.retrieval.label_errors.label_votes import Votes
from eml.retrieval.label_errors.suspect_classes import MixedClass, OneClass
from eml.retrieval.label_errors.suspects import (
    MIN_SCORE,
    LabelledEmbeddings,
    Suspects,
    ambiguous_table,
    class_table,
    describe_neighbours,
    find_suspects,
    wrong_table,
)

__all__ = [
    "MIN_SCORE",
    "LabelledEmbeddings",
    "MixedClass",
    "OneClass",
    "Suspects",
    "Votes",
    "ambiguous_table",
    "class_table",
    "describe_neighbours",
    "find_suspects",
    "wrong_table",
]
