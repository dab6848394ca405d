"""Measure whole commands and their parts as ratios of processor time to named floors, in turns, in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/commands.py [--package /tmp/before] [--only NAME …] [--rounds 3]
    python tests/benchmarks/commands.py --list

A round runs the sides of an item one after the other, each in a process of its own, in an order that changes from round
to round: the floor (a bare loop that does the same work, in commands_parts.py), eml of this checkout, variants of it,
and "before": eml of the checkout in --package (git worktree add /tmp/before REVISION). A figure is the median of the
rounds' ratios to the floor of the same round. Of a whole command the processor time is that of its process and all that
it started, imports included. The inputs are drawn once in --work; --data DIR takes the small photos from a folder of
classes instead. One JSON file in --out, and the table as Markdown.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from commands_inputs import CHECKOUT, TABLES, environment, prepare
from commands_items import Item, Side, image_items, network_items, table_items

# -- measuring ---------------------------------------------------------------------------------------------------------


def seconds_of(side: Side, package: Path, work: Path) -> dict[str, Any]:
    """Run a side and return its processor seconds, and whatever else it says.

    Raises:
        RuntimeError: It failed; the message has the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(dir=work) as out, tempfile.TemporaryFile() as log:
        words = [word.replace("{work}", str(work)).replace("{out}", out) for word in side.words]
        child = subprocess.Popen(
            [sys.executable, *words], cwd=out, env=environment(package, side.settings), stdout=log, stderr=log
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read().decode(errors="replace").strip()
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {child.returncode}: {text[-600:]}")
    if side.is_whole:
        return {"seconds": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss // 1024}
    return dict(json.loads(text.splitlines()[-1]))


def sides_of(item: Item, package: Path | None) -> dict[str, tuple[Side, Path]]:
    """Return the sides of an item with the checkout that each imports."""
    sides = {"floor": (item.floor, CHECKOUT), "after": (item.eml, CHECKOUT)}
    if package:
        sides["before"] = (item.eml, package)
    return sides | {name: (side, CHECKOUT) for name, side in item.variants.items()}


def measure(item: Item, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and ratios of an item's sides; a side that fails, as where a version lacks it, has the reason."""
    sides, rounds = sides_of(item, options.package), []
    problems: dict[str, str] = {}
    for turn in range(options.rounds):
        found = {}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            if name in problems:
                continue
            try:
                found[name] = seconds_of(*sides[name], options.work)
            except (RuntimeError, ValueError) as error:
                problems[name] = str(error)
                print(f"  {item.name}, {name}: {error}", file=sys.stderr, flush=True)
        rounds.append(found)
    facts: dict[str, Any] = {"name": item.name, "title": item.title, "goal": item.goal, "beyond": item.beyond}
    facts["problems"] = problems
    facts["sides"] = {name: summary(name, rounds) for name in sides if name not in problems}
    return facts


def summary(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of a side over the rounds, by itself and against the floor of the same round."""
    pairs = [(turn[name]["seconds"], turn["floor"]["seconds"]) for turn in rounds if name in turn and "floor" in turn]
    return {
        "seconds": round(statistics.median(own for own, _ in pairs), 3),
        "ratio": round(statistics.median(own / floor for own, floor in pairs), 3),
        "ratios": [round(own / floor, 3) for own, floor in pairs],
        "beyond": round(statistics.median(own - floor for own, floor in pairs), 3),
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def cell(facts: dict[str, Any], name: str) -> str:
    """Return the figure of a side."""
    side = facts["sides"].get(name)
    if side is None:
        return "–"
    return f"{side['beyond']:+.2f} s" if facts["beyond"] else f"{side['ratio']:.2f}"


def row(facts: dict[str, Any]) -> str:
    """Return the row of an item: goal, before, after, variants, and the floor in seconds."""
    others = [name for name in facts["sides"] if name not in ("floor", "before", "after")]
    variants = ", ".join(f"{name} {cell(facts, name)}" for name in others)
    floor = facts["sides"]["floor"]["seconds"] if "floor" in facts["sides"] else math.nan
    cells = [facts["title"], facts["goal"], cell(facts, "before"), cell(facts, "after"), variants, f"{floor:.2f} s"]
    return "| " + " | ".join(cells) + " |"


def exponents(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for before and after: how the time of an audit beyond reading the table grows."""
    small, large = (results.get(f"audit-{count // 1000}k") for count in TABLES)
    lines = []
    for name in ("before", "after"):
        if small and large and name in small["sides"] and name in large["sides"]:
            times = [facts["sides"][name]["beyond"] for facts in (small, large)]
            if min(times) > 0:
                exponent = math.log(times[1] / times[0]) / math.log(TABLES[1] / TABLES[0])
                lines.append(f"audit, {name}: exponent {exponent:.2f} from {TABLES[0]:,} to {TABLES[1]:,} rows")
    return lines


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    print("| command or part / floor | goal | before | after | variants | floor |\n|---|---|---|---|---|---|")
    for facts in results.values():
        print(row(facts))
    for line in exponents(results):
        print(line)


def main() -> None:
    """Parse the command line, draw the inputs, measure and write."""
    items = {item.name: item for item in [*network_items(), *image_items(), *table_items()]}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="folder of an older version, which has a folder `eml`")
    parser.add_argument("--only", nargs="*", help="names, or their beginnings, in this order")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder of classes of JPEGs: the small photos")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "eml-commands")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "eml-commands.json")
    parser.add_argument("--list", action="store_true", help="print the items and their floors, and measure nothing")
    parser.add_argument("--show", action="store_true", help="print the table of --out, and measure nothing")
    options = parser.parse_args()
    if options.list:
        print(*(f"{item.name:24} {item.title}" for item in items.values()), sep="\n")
        return
    results: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    if not options.show:
        options.package = options.package and options.package.absolute()
        options.work = options.work.absolute()
        prepare(options)
        begins = options.only or [""]
        for name in dict.fromkeys(name for begin in begins for name in items if name.startswith(begin)):
            started = time.monotonic()
            results[name] = measure(items[name], options)
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(row(results[name]), f"({time.monotonic() - started:.0f} s)", flush=True)
    show({name: results[name] for name in items if name in results})


if __name__ == "__main__":
    main()
