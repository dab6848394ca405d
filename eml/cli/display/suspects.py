"""`eml suspects` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.suspects import SuspectsResult, suspects

MANY = 0.15  # of the images
SHOWN = 5  # images


def show(result: SuspectsResult) -> None:
    """Print the counts and the most probable errors."""
    from eml.cli.display import console

    counts, findings = result.counts, result.suspects
    console.table("", *result.summary_table())
    images = findings.images
    rows = [
        [rank, images.file_names[row], images.labels[row], findings.names[findings.errors.suggested[row]]]
        for rank, row in enumerate(findings.wrong[:SHOWN], 1)
    ]
    if rows:
        console.table("The most probable", ["", "image", "label", "suggested"], rows)
    judged = counts["images"] - counts["not_judged"]
    if len(findings.wrong) > MANY * judged:
        console.warn(
            f"{len(findings.wrong) / judged:.0%} of the images are suspects: more likely these embeddings do not tell "
            "the classes apart. Trust the first of the list at most; a network trained on these classes judges better "
            "(eml train CONFIG --fold all)"
        )
    if counts["not_judged"]:
        alone = console.count(counts["not_judged"], "image is", "images are")
        console.warn(f"{alone} the only one of a class in its fold, and cannot be judged. Fewer folds, or one network?")
    if caution := result.trained_on.caution():
        (console.warn if result.trained_on.images else console.say)(caution)
    if len(findings.wrong):
        console.say(f"look at {result.written[-1]}: tick what is wrong, save the list, and run the command it shows")


terminal = Terminal(suspects, show)
