"""What commands.py measures: each item with its floor, its goal and its sides."""

from dataclasses import dataclass, field
from pathlib import Path

from commands_inputs import BACKBONE, EMPTY, EPOCHS, PHOTOS, REPORT, SIDE, SIZES, TABLES

PARTS = Path(__file__).with_name("commands_parts.py")
Words = tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """What one process runs: words after `python`, with {work} and {out} filled in.

    Attributes:
        words: The words.
        is_whole: Whether the whole process counts, or only what it says itself.
        settings: Further environment variables.
    """

    words: Words
    is_whole: bool = True
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A row of the table.

    Attributes:
        name: For --only.
        title: What eml does, and what the floor is.
        goal: The ratio to the floor that is aimed at, as text.
        floor: The floor; a side of eml where the item compares two of its ways.
        eml: What is measured, also of --package.
        variants: Further sides of this checkout.
        beyond: Whether the goal is about the seconds beyond the floor, not about the ratio.
    """

    name: str
    title: str
    goal: str
    floor: Side
    eml: Side
    variants: dict[str, Side] = field(default_factory=dict)
    beyond: bool = False


def part(name: str, *rest: str) -> Side:
    """Return a part of commands_parts.py that says its seconds itself."""
    return Side((str(PARTS), name, "{work}", *rest), is_whole=False)


def whole_part(name: str, *rest: str) -> Side:
    """Return a part of commands_parts.py of which all counts."""
    return Side((str(PARTS), name, "{work}", *rest))


def command(*words: str) -> Side:
    """Return a command of eml."""
    return Side(("-m", "eml", *words))


def with_default_malloc(side: Side) -> Side:
    """Return the same with the allocator as the system has it."""
    return Side(side.words, side.is_whole, {"EML_MALLOC": "default"})


DEFAULT_MALLOC = "with EML_MALLOC=default"


def network_items() -> list[Item]:
    """Return the items in which a network runs."""
    embed = part("embed_eml")
    evaluate = command(
        *("evaluate", f"timm:{BACKBONE}", "--weights", "none", "--image-size", str(SIDE)),
        *("--data", "{work}/small/dataset_info.csv", "--out", "{out}"),
    )
    train = command("train", "{work}/train.json", "--set", "output={out}/run")
    start = command("train", "{work}/start.json", "--set", "output={out}/run")
    return [
        Item(
            *("embed", "embedding of decoded images / bare timm loop", "1.1"),
            *(part("embed_floor"), embed),
            {
                DEFAULT_MALLOC: with_default_malloc(embed),
                "in bfloat16": part("embed_eml", "bfloat16"),
            },
        ),
        Item(
            *("evaluate", "`eml evaluate` of 600 photos / bare loop (Pillow, timm, top-k)", "1.5"),
            *(whole_part("evaluate_floor"), evaluate),
            {
                DEFAULT_MALLOC: with_default_malloc(evaluate),
                "in bfloat16": command(*evaluate.words[2:], "--precision", "bfloat16"),
            },
        ),
        Item(
            *("train", f"`eml train`, {EPOCHS} epochs of 600 photos / bare training loop", "1.3"),
            *(whole_part("train_floor"), train),
            {DEFAULT_MALLOC: with_default_malloc(train)},
        ),
        Item(
            *("start", "`eml train` of 4 photos / import torch and timm, one step", "beyond it ≤ 2 s"),
            *(whole_part("start_floor"), start),
            beyond=True,
        ),
        Item(
            *("workers", "`eml train`, 6 epochs with 2 loading processes / without", "1.3"),
            command("train", "{work}/workers.json", "--set", "output={out}/run", "--set", "workers=0"),
            command("train", "{work}/workers.json", "--set", "output={out}/run", "--set", "workers=2"),
        ),
    ]


def image_items() -> list[Item]:
    """Return the items that read images."""
    items = []
    for size, side in (("small", "128"), ("middle", "160"), ("huge", "224")):
        for how, goal in (("train", "1.3"), ("evaluation", "1.5")):
            words = (size, side, how)
            items.append(
                Item(
                    *(
                        f"{how}-reads-{size}",
                        f"{how} reads, {named(size)} to {side} px / JPEG decoder and OpenCV",
                        goal,
                    ),
                    *(part("reads_floor", *words), part("reads_eml", *words)),
                )
            )
    for size, goal in (("small", ""), ("middle", "1.6")):
        items.append(
            Item(
                *(f"hash-{size}", f"scan of a file, {named(size)} / grey scaled decode and DCT", goal),
                *(part("hash_floor", size), part("hash_eml", size)),
            )
        )
    return items


def named(size: str) -> str:
    """Return width × height of the photos of a size."""
    return "{} × {}".format(*PHOTOS[size])


def table_items() -> list[Item]:
    """Return the items on tables and stored embeddings."""
    file, many = "{work}/file.npz", "{work}/many.npz"
    quiet, root = ("--out", "{out}"), ("--root", "{work}/many")
    files = {
        "evaluate": ("evaluate", file, "--no-report", *quiet),
        "suspects": ("suspects", file, "--one-network", "--top", "0", *root, *quiet),
    }
    items = [
        Item(
            f"file-{name}", f"`eml {name} FILE.npz`, 1,000 rows / import torch and pandas", "beyond it ≤ 1 s",
            whole_part("import_floor"), command(*words), beyond=True,
        )
        for name, words in files.items()
    ]  # fmt: skip
    items += [
        Item(
            f"audit-{count // 1000}k", f"`eml audit` of {count:,} rows / reading the table with pandas", "",
            whole_part("table_floor", str(count)),
            command("audit", f"{{work}}/table-{count}.csv", "--root", f"{{work}}/{EMPTY}"),
        )
        for count in TABLES
    ]  # fmt: skip
    items += [
        Item(
            f"search-{size}", f"exact search with metrics, 20,000 × {size} / faiss flat", "1.2",
            part("search_floor", str(size), "20000"), part("search_eml", str(size), "20000"),
        )
        for size in (128, 512)
    ]  # fmt: skip
    suspects = command("suspects", many, "--one-network", "--top", "0", *root, *quiet)
    return [
        *items,
        Item(
            *("suspects", f"`eml suspects`, {SIZES['many']:,} × 128 / `eml evaluate` of them", "1.2"),
            *(command("evaluate", many, "--no-report", *quiet), suspects),
        ),
        Item(
            *("report", f"`eml report`, {REPORT:,} images / all pairs of hashes by NumPy", "7 s → 3 s"),
            *(whole_part("report_floor"),),
            command("report", "{work}/many.csv", "--root", "{work}/many", "--out", "{out}/page.html"),
        ),
    ]
