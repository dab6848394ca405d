"""`eml audit` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.audit import AuditResult, audit

SHOWN = 5  # pairs


def show(result: AuditResult) -> None:
    """Print the sides, the nearest pairs, and shared values and classes."""
    from eml.cli.display import console

    findings = result.audit
    console.table("", *result.summary_table())
    if findings.num_pairs:
        _show_pairs(result)
    for column, values in findings.shared_values.items():
        if values:
            console.warn(f"{column} is on both sides for {console.some(values, 'value', 'values')}")
    if findings.shared_classes:
        classes = f"on more than one side: {console.some(findings.shared_classes, 'class', 'classes')}"
        if result.classes_meant:
            console.show(f"{classes} (expected, so not counted)")
        else:
            console.warn(f"{classes}. If known classes are to be recognised, give --same-classes")
    for line in findings.warnings:
        console.warn(line)
    if result.clean:
        console.show("clean: nothing that was compared is on more than one side")


def _show_pairs(result: AuditResult) -> None:
    from eml.cli.display import console

    findings = result.audit
    same = f", {findings.pairs_of_same_content:,} of them the same file" if findings.pairs_of_same_content else ""
    apart = f"within {result.threshold} of 64 bits" if not findings.warnings else "of equal content"
    console.warn(f"{console.count(findings.num_pairs, 'pair looks', 'pairs look')} alike {apart}{same}. The nearest:")
    for pair in findings.pairs.head(SHOWN).itertuples():
        first = f"{pair.side}: {pair.file_name} ({pair.label})"
        second = f"{pair.other_side}: {pair.other_file_name} ({pair.other_label})"
        console.show(f"  {pair.distance} bits  {first}  {second}")
    if len(findings.pairs) > SHOWN:
        console.say("  … all of them with --out pairs.csv")


terminal = Terminal(
    audit,
    show,
    metavars={"group_by": "COLUMN"},
    says_no=lambda config, result: config.strict and not result.clean,
)
