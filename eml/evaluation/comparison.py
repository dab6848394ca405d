"""Two models on one set: which is better, or that the data cannot tell."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.dataset.similar_labels import canonical
from eml.errors import DataError
from eml.evaluation.class_changes import ClassChange, gained_and_lost
from eml.evaluation.evaluate import Evaluation
from eml.evaluation.trained_overlap import UNKNOWN_OVERLAP, TrainedOverlap, comparison_lines
from eml.inference.embeddings_file import is_embeddings_file
from eml.retrieval.metrics import QueryAnswers, Summary
from eml.retrieval.statistics import Difference, as_pair, paired, paired_of, statistic_of
from eml.retrieval.worst_classes import METRIC

BETTER, WORSE, UNKNOWN, ALIKE = "better", "worse", "the data cannot tell", "no query changed"


@dataclass(frozen=True)
class ModelComparison:
    """A model compared with another on the same images.

    Attributes:
        name: The model.
        against: The model that it is compared with.
        shown: Metric → its name in tables.
        differences: Metric → value of `name` minus value of `against`.
        to_right: Queries whose first neighbour is right with `name` alone.
        to_right_classes: The number of their classes.
        to_wrong: Queries whose first neighbour is right with `against` alone.
        to_wrong_classes: The number of their classes.
        both_right: Queries whose first neighbour is right with both.
        both_wrong: Queries whose first neighbour is right with neither.
        gained: The classes whose mean MAP@R rose most.
        lost: The classes whose mean MAP@R fell most.
        trained_on: How much of the images `name` was trained on.
        against_trained_on: How much of the images `against` was trained on.
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
    trained_on: TrainedOverlap = UNKNOWN_OVERLAP
    against_trained_on: TrainedOverlap = UNKNOWN_OVERLAP

    @property
    def alike(self) -> bool:
        """Whether no query changed in any metric, as with a model compared with itself."""
        return all(difference.alike for difference in self.differences.values())

    def lines(self, metric: str = METRIC) -> list[str]:
        """Return sentences that say which model is better by a metric, and how many first neighbours changed."""
        if self.alike:
            queries = self.both_right + self.both_wrong
            return [f"{self.name} and {self.against} answer each of the {queries:,} queries alike, by every metric."]
        difference = self.differences[metric]
        interval = difference.interval
        verdict = {
            BETTER: f"{self.name} is better than {self.against}",
            WORSE: f"{self.name} is worse than {self.against}",
            UNKNOWN: f"The data cannot tell {self.name} and {self.against} apart",
            ALIKE: f"{self.name} and {self.against} have the same {self.shown[metric]} in every query",
        }[verdict_on(difference)]
        lines = [
            f"{verdict}: {self.shown[metric]} {difference.value:+.4f}, 95 % interval {interval.low:+.4f} to "
            f"{interval.high:+.4f} over {interval.classes:,} classes."
        ]
        if interval.few:
            lines.append(f"Only {interval.classes} class{'' if interval.classes == 1 else 'es'}: take this as a hint.")
        lines += comparison_lines({self.name: self.trained_on, self.against: self.against_trained_on})
        lines.append(
            f"First neighbour: {self.to_right:,} became right (of {self.to_right_classes:,} classes), "
            f"{self.to_wrong:,} wrong (of {self.to_wrong_classes:,}); {self.both_right:,} stayed right, "
            f"{self.both_wrong:,} wrong."
        )
        return lines

    def facts(self) -> dict[str, Any]:
        """Return the comparison for metrics.json."""
        rows = [
            {
                "metric": metric,
                "name": self.shown[metric],
                "value": difference.after,
                "against": difference.before,
                "difference": difference.value,
                "interval": as_pair(difference.interval),
                "classes": difference.interval.classes,
                "verdict": verdict_on(difference),
            }
            for metric, difference in self.differences.items()
        ]
        return {
            "against": self.against,
            "against_trained_on": self.against_trained_on.facts(),
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
            "gained": [asdict(change) for change in self.gained],
            "lost": [asdict(change) for change in self.lost],
        }


def verdict_on(difference: Difference) -> str:
    """Return better, worse or "the data cannot tell": the interval lies above 0, below, or around it.

    Without any changed query the verdict is ALIKE, since the interval, which is about other classes, shows nothing
    then.
    """
    if difference.alike:
        return ALIKE
    return BETTER if difference.interval.low > 0 else WORSE if difference.interval.high < 0 else UNKNOWN


def compare(evaluation: Evaluation, against: Evaluation) -> ModelComparison:
    """Compare two models by paired differences, evaluation − against, with intervals over classes.

    Raises:
        DataError: The evaluations are of different sets.
    """
    check_same_set(evaluation, against)
    classes = evaluation.retrieval.labels[evaluation.retrieval.queries]
    before, after = against.summary, evaluation.summary
    counted = after.answers.has_positive
    was, now = before.answers.right[counted], after.answers.right[counted]
    to_right, to_wrong = classes[counted][~was & now], classes[counted][was & ~now]
    gained, lost = gained_and_lost(evaluation, against)
    return ModelComparison(
        name=evaluation.title,
        against=against.name,
        shown=after.shown,
        differences=differences_of(before, after, classes),
        to_right=len(to_right),
        to_right_classes=len(np.unique(to_right)),
        to_wrong=len(to_wrong),
        to_wrong_classes=len(np.unique(to_wrong)),
        both_right=int((was & now).sum()),
        both_wrong=int((~was & ~now).sum()),
        gained=gained,
        lost=lost,
        trained_on=evaluation.trained_on,
        against_trained_on=against.trained_on,
    )


def differences_of(before: Summary, after: Summary, classes: NDArray[np.int64]) -> dict[str, Difference]:
    """Return metric → paired difference after − before with its interval over classes, over the same queries.

    classes: (Q,) of the queries.
    """
    differences = paired(before.per_query, after.per_query, classes)
    differences |= _differences_of_answers(before.answers, after.answers, classes)
    return {name: differences[name] for name in after.values}


def check_same_set(evaluation: Evaluation, against: Evaluation) -> None:
    """Check that two evaluations are of the same images with the same queries and gallery.

    Raises:
        DataError: They are not.
    """
    first, second = evaluation.table, against.table
    from_files = all(is_embeddings_file(str(table.path)) and table.digest for table in (first, second))
    if not from_files and first.digest != second.digest:
        problem = f"{evaluation.name} on {first.name}, {against.name} on {second.name}, which differ"
    elif not _has_same_rows(evaluation, against):
        sizes = [
            f"{model.name} on {len(model.retrieval.frame):,} images of {model.table.name}"
            for model in (evaluation, against)
        ]
        problem = f"{' and '.join(sizes)}: their images, labels or protocols differ"
    else:
        return
    raise DataError(
        f"a comparison needs the same images for both; {problem}. Give both the same `data`",
        code="different-images",
        parameter="against",
    )


def _has_same_rows(evaluation: Evaluation, against: Evaluation) -> bool:
    a, b = evaluation.retrieval, against.retrieval
    if len(a.frame) != len(b.frame) or a.protocol != b.protocol:
        return False
    first, second = (
        [frame["file_name"].tolist(), [canonical(str(label)) for label in frame["label"]]]
        for frame in (a.frame, b.frame)
    )
    columns = first == second
    arrays = ((a.queries, b.queries), (a.gallery, b.gallery), (a.groups, b.groups), (a.within, b.within))
    # With equal protocols both have groups, or neither.
    return columns and all(x is None or y is None or np.array_equal(x, y) for x, y in arrays)


def _differences_of_answers(
    before: QueryAnswers, after: QueryAnswers, classes: NDArray[np.int64]
) -> dict[str, Difference]:
    """Return the differences of the metrics of all answers together, which are no means over queries."""
    differences = paired_of(statistic_of(before), statistic_of(after), classes)
    alike = np.array_equal(before.right, after.right) and np.array_equal(_ranks(before), _ranks(after))
    return {name: replace(difference, alike=alike) for name, difference in differences.items()}


def _ranks(answers: QueryAnswers) -> NDArray[np.int64]:
    """(Q,) rank of each similarity, equal for equal ones: all that the metrics of the answers together depend on."""
    return np.unique(answers.similarity, return_inverse=True)[1]
