"""`eml calibrate` in a terminal."""

from typing import TYPE_CHECKING

from eml.cli.adapter import Terminal
from eml.commands.calibrate import CalibrateResult, calibrate

if TYPE_CHECKING:
    from eml.retrieval.answer_calibration import AnswerCalibration

FEW_ANSWERS = 200
"""A bin of probability with fewer answers is not named."""


def show(result: CalibrateResult) -> None:
    """Print the threshold, its rates, and how it does on held-out classes."""
    from eml.cli.display import console
    from eml.reports.calibration import GOALS

    calibration = result.result.calibration
    end = ", upper end of the interval" if calibration.strict else ""
    console.table(f"{calibration.goal_value:g} {GOALS[calibration.goal]}{end}", *result.summary_table())
    console.show(f"protocol: {calibration.protocol}")
    if calibration.fingerprint and calibration.fingerprint.ways:
        console.show(f"it holds for a model that is loaded with {', '.join(calibration.fingerprint.ways)}")
    _show_held_out(result)
    if calibration.answers is not None:
        show_answers(calibration.answers)
    for line in result.cautions():
        console.warn(line)


def show_answers(answers: "AnswerCalibration") -> None:
    """Print how well the probability of answers holds, and what is turned away as unknown."""
    from eml.cli.display import console

    rates = {
        "expected calibration error": answers.ece,
        "accepted queries of unknown classes": answers.false_accepts,
        "accepted queries of known classes": answers.accepted,
        "right answers to queries of known classes": answers.accuracy,
    }
    rows = [[text, console.decimal(rate.value), console.span(rate.low, rate.high)] for text, rate in rates.items()]
    method = "by the nearest images" if answers.method == "nearest" else "by centroids"
    console.table(f"answers of eml classify, {method}, on held-out classes", ["", "", "95 % interval"], rows)
    count = answers.counts["gallery_classes"]
    console.show(
        f"assumed: {answers.unknown_share:g} of the queries are of unknown classes; {count:,} classes in the gallery"
    )
    if answers.fold_thresholds:
        values = answers.fold_thresholds.values()
        console.show(
            f"threshold of the known score {answers.threshold:.2f}; by each of {len(values)} folds alone "
            f"{min(values):.2f} … {max(values):.2f}"
        )
    if answers.gallery == "set":
        console.show("an index fits all of this again to its own classes")
    for bin_ in answers.bins:
        if bin_.is_off and bin_.answers >= FEW_ANSWERS:
            is_cautious = bin_.right.value > bin_.probability
            console.warn(
                f"answers of probability {bin_.low:g} to {bin_.high:g} (mean {bin_.probability:.2f}) are right "
                f"{'more' if is_cautious else 'less'} often than that: {bin_.right.value:.2f} of {bin_.answers:,} "
                f"({bin_.right.low:.2f} … {bin_.right.high:.2f}). "
                f"{'They are surer than they say' if is_cautious else 'Trust these probabilities less'}"
            )
    for note in answers.notes:
        console.warn(note)


def _show_held_out(result: CalibrateResult) -> None:
    from eml.cli.display import console

    calibration = result.result.calibration
    rates = [rate for rate in calibration.held_out if rate is not None]
    if rates and calibration.held_out_mean is not None:
        console.show(
            f"held-out classes, {len(rates)} times half of them: {console.decimal(calibration.held_out_mean)} on "
            f"average, {console.decimal(min(rates))} … {console.decimal(max(rates))} (goal {calibration.goal_value:g})"
        )
    if missing := len(calibration.held_out) - len(rates):
        few = "" if calibration.held_out_mean is not None else ": too many to estimate the rate on held-out classes"
        console.warn(
            f"{missing} of {len(calibration.held_out)} halves of the classes gave no threshold for this goal{few}. "
            "More classes, more images of each, or a larger rate as the goal make it sure"
        )


terminal = Terminal(
    calibrate,
    show,
    short={"data": "-d"},
    metavars={
        "far": "RATE",
        "unknown_share": "SHARE",
        "from_folds": "RUN",
        "pair_far": "RATE",
        "precision": "SHARE",
        "plot": "FILE",
        "leave_out_same": "COLUMN",
        "within": "COLUMN",
    },
)
