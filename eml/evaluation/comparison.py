"""Two models on one set: which is better, or that the data cannot tell."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError
from eml.evaluation.class_changes import ClassChange, gained_and_lost
from eml.evaluation.evaluate import Evaluation
from eml.inference.embeddings_file import is_embeddings_file
from eml.retrieval.metrics import QueryAnswers
from eml.retrieval.statistics import Difference, as_pair, paired, paired_of, statistic_of
from eml.retrieval.worst_classes import METRIC

BETTER, WORSE, UNKNOWN, ALIKE = "better", "worse", "the data cannot tell", "no query changed"


@dataclass(frozen=True)
class Comparison:
    """`name` compared with `against`, on the same images.

    differences: of each metric, the value of `name` minus that of `against`. to_right, to_wrong: queries (of so many
    classes) whose first neighbour is right with `name` alone, and with `against` alone; right and wrong: with both.
    gained, lost: the classes whose mean MAP@R changed most.
    """

    name: str
    against: str
    shown: dict[str, str]
    differences: dict[str, Difference]
    to_right: int
    to_right_classes: int
    to_wrong: int
    to_wrong_classes: int
    both_right: int
    both_wrong: int
    gained: list[ClassChange]
    lost: list[ClassChange]

    @property
    def alike(self) -> bool:
        """Whether no query changed in any metric, as of a model against itself."""
        return all(each.alike for each in self.differences.values())

    def lines(self, metric: str = METRIC) -> list[str]:
        """What the metric's difference says, and how many first neighbours changed."""
        if self.alike:
            queries = self.both_right + self.both_wrong
            return [f"{self.name} and {self.against} answer each of the {queries:,} queries alike, by every metric."]
        found = self.differences[metric]
        told = (
            f"{self.shown[metric]} {found.value:+.4f}, 95 % interval {found.interval.low:+.4f} to "
            f"{found.interval.high:+.4f} over {found.interval.classes:,} classes"
        )
        what = {
            BETTER: f"{self.name} is better than {self.against}",
            WORSE: f"{self.name} is worse than {self.against}",
            UNKNOWN: f"The data cannot tell {self.name} and {self.against} apart",
            ALIKE: f"{self.name} and {self.against} have the same {self.shown[metric]} in every query",
        }[verdict_on(found)]
        few = (
            [f"Only {found.interval.classes} class{'' if found.interval.classes == 1 else 'es'}: take this as a hint."]
            if found.interval.few
            else []
        )
        return [
            f"{what}: {told}.",
            *few,
            f"First neighbour: {self.to_right:,} queries of {self.to_right_classes:,} classes became right, "
            f"{self.to_wrong:,} of {self.to_wrong_classes:,} wrong; {self.both_right:,} stayed right, "
            f"{self.both_wrong:,} wrong.",
        ]

    def facts(self) -> dict[str, Any]:
        """For metrics.json."""
        rows = [
            {
                "metric": metric,
                "name": self.shown[metric],
                "value": each.after,
                "against": each.before,
                "difference": each.value,
                "interval": as_pair(each.interval),
                "classes": each.interval.classes,
                "verdict": verdict_on(each),
            }
            for metric, each in self.differences.items()
        ]
        return {
            "against": self.against,
            "alike": self.alike,
            "rows": rows,
            "first_neighbour": {
                "to_right": self.to_right,
                "to_right_classes": self.to_right_classes,
                "to_wrong": self.to_wrong,
                "to_wrong_classes": self.to_wrong_classes,
                "both_right": self.both_right,
                "both_wrong": self.both_wrong,
            },
            "gained": [asdict(each) for each in self.gained],
            "lost": [asdict(each) for each in self.lost],
        }


def verdict_on(found: Difference) -> str:
    """better, worse, or that the data cannot tell: by whether the interval lies above 0, below, or around it.

    Where no query changed that is said instead: what the interval would be of other classes is no finding then.
    """
    if found.alike:
        return ALIKE
    return BETTER if found.interval.low > 0 else WORSE if found.interval.high < 0 else UNKNOWN


def compare(one: Evaluation, against: Evaluation) -> Comparison:
    """Paired differences, one − against, with intervals over classes. Raises DataError for different sets."""
    check_same_set(one, against)
    classes = one.wanted.labels[one.wanted.queries]
    before, after = against.summary, one.summary
    found = paired(before.per_query, after.per_query, classes)
    found |= _together(before.answers, after.answers, classes)
    counted = after.answers.has_positive
    was, now = before.answers.right[counted], after.answers.right[counted]
    to_right, to_wrong = classes[counted][~was & now], classes[counted][was & ~now]
    gained, lost = gained_and_lost(one, against)
    return Comparison(
        one.name,
        against.name,
        after.shown,
        {name: found[name] for name in after.values},
        len(to_right),
        len(np.unique(to_right)),
        len(to_wrong),
        len(np.unique(to_wrong)),
        int((was & now).sum()),
        int((~was & ~now).sum()),
        gained,
        lost,
    )


def check_same_set(one: Evaluation, against: Evaluation) -> None:
    """Raises DataError unless both are of the same images with the same queries and gallery."""
    tables = [each.table for each in (one, against)]
    files = all(is_embeddings_file(str(table.path)) and table.digest for table in tables)
    problems = []
    if not files and tables[0].digest != tables[1].digest:
        problems.append(f"{one.name} on {tables[0].name}, {against.name} on {tables[1].name}, which differ")
    elif not _same_rows(one, against):
        sizes = [f"{each.name} on {len(each.wanted.frame):,} images of {each.table.name}" for each in (one, against)]
        problems.append(f"{' and '.join(sizes)}: their images, labels or protocols differ")
    if problems:
        raise DataError(f"a comparison needs the same images for both; {problems[0]}. Give both the same --data")


def _same_rows(one: Evaluation, against: Evaluation) -> bool:
    a, b = one.wanted, against.wanted
    if len(a.frame) != len(b.frame) or a.protocol != b.protocol:
        return False
    columns = all(
        np.array_equal(a.frame[name].to_numpy(str), b.frame[name].to_numpy(str)) for name in ("label", "file_name")
    )
    places = ((a.queries, b.queries), (a.gallery, b.gallery), (a.groups, b.groups), (a.within, b.within))
    # Of equal protocols both have groups, or neither.
    return columns and all(x is None or y is None or np.array_equal(x, y) for x, y in places)


def _together(before: QueryAnswers, after: QueryAnswers, classes: NDArray[np.int64]) -> dict[str, Difference]:
    """Of the metrics that are no means."""
    found = paired_of(statistic_of(before), statistic_of(after), classes)
    alike = np.array_equal(before.right, after.right) and np.array_equal(_ranks(before), _ranks(after))
    return {name: replace(each, alike=alike) for name, each in found.items()}


def _ranks(answers: QueryAnswers) -> NDArray[np.int64]:
    """(Q,) the same number where the similarity is the same: all that metrics of the answers together look at."""
    return np.unique(answers.similarity, return_inverse=True)[1]
