"""`eml export` in a terminal."""

from typing import Any

from eml.cli.adapter import Terminal, in_options
from eml.commands.export import ExportResult, export


def show(result: ExportResult) -> None:
    """Print what was written, the checks of its proof, the speed, and what is not shown."""
    from eml.cli.display import console
    from eml.exporting.proof.checks import embedding_checks

    console.show(result.summary())
    if result.exported.repository is not None:
        console.show(f"Triton: tritonserver --model-repository={result.exported.repository}")
    outcome, proof = result.exported.outcome, result.proof
    if outcome is None or proof is None:
        console.warn("not proved: nothing was compared with the checkpoint, and the file is not calibrated")
        return
    where = f"{proof.images:,} images of {proof.classes:,} classes of {proof.chosen_from}"
    rows = [[check.name, check.measured, check.limit, _verdict(check)] for check in embedding_checks(proof)]
    console.table(f"proof on {where}", ["", "measured", "must be", ""], rows)
    _show_retrieval(proof)
    if proof.speed:
        times = [[row.batch, f"{row.reference:.3g}", f"{row.exported:.3g}"] for row in proof.speed]
        console.table("ms per image on one thread", ["images at once", "checkpoint", "exported"], times)
    if outcome.calibration_line:
        console.show(in_options(f"calibration: {outcome.calibration_line}", terminal))
    for caution in proof.cautions:
        console.say(in_options(f"note: {caution}", terminal))
    if proof.passed:
        console.show("the proof passed")
        return
    for problem in proof.problems:
        console.warn(in_options(problem, terminal))
    console.show(f"the proof failed: the file is {result.exported.path}")


def _show_retrieval(proof: Any) -> None:
    from eml.cli.display import console
    from eml.exporting.proof.checks import retrieval_checks, signed

    metrics = {"R@1": proof.recall_at_1, "MAP@R": proof.map_at_r}
    rows = []
    for check in retrieval_checks(proof):
        metric = metrics[check.name]
        span = "" if metric.low is None else f"{signed(metric.low)} … {signed(metric.high)}"
        values = [f"{metric.reference:.4f}", f"{metric.exported:.4f}"]
        rows.append([check.name, *values, "no query changed" if metric.alike else span, check.limit, _verdict(check)])
    if rows:
        console.table("retrieval", ["", "checkpoint", "exported", "change, 95 %", "must be", ""], rows)


def _verdict(check: Any) -> str:
    if not check.limit:
        return "" if check.holds else "no"
    return "yes" if check.holds else "no"


terminal = Terminal(
    export,
    show,
    metavars={
        "checkpoint": "CHECKPOINT",
        "out": "OUT",
        "format": "FORMAT",
        "image_size": "PIXELS",
        "calibrate_on": "TABLE",
        "prove_on": "TABLE",
        "prove_images": "N",
        "least_cosine": "COSINE",
        "most_loss": "MAP@R",
    },
    says_no=lambda config, result: not result.passed,
)
