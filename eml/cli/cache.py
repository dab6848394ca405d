"""`eml cache`."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.options import Json, Root
from eml.errors import ConfigError, DataError

if TYPE_CHECKING:
    from eml.training.caches import Wanted

CONFIGS = (".yaml", ".yml")


def cache(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG_OR_TABLE",
            show_default=False,
            help="The config of a run (YAML), or a table or folder of images.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="With a config: override a key, such as data.cache.format=jpeg. Repeatable.",
        ),
    ] = None,
    root: Root = None,
    side: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=4096,
            show_default=False,
            help="With a table, and needed: the longest that a shorter side is kept (pixels); a run reads the cache "
            "whose data.cache.side is the same, or follows from its image.size and crop.",
        ),
    ] = None,
    format_: Annotated[
        Literal["raw", "jpeg"] | None,
        typer.Option("--format", show_default=False, help="With a table: raw or jpeg.  [default: raw]"),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=50, max=100, show_default=False, help="With a table: of jpeg.  [default: 95]")
    ] = None,
    interpolation: Annotated[
        Literal["bilinear", "bicubic", "lanczos"] | None,
        typer.Option(show_default=False, help="With a table: the run's image.interpolation.  [default: bicubic]"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            show_default=False, help="With a table: the folder of caches.  [default: .eml_cache beside the images]"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare all that is kept with its checksums; what is damaged is made again."),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Afterwards, remove the other caches in the same folders.")
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Make nothing, and remove all caches in the folders.")] = False,
    json: Json = False,
) -> None:
    """Keep images decoded and made smaller, so that a training reads them many times faster.

    For a config: what its data.cache asks for (raw where it says nothing), as eml train does at its start. What is
    there and unchanged stays, so that a stopped one goes on; an image counts as changed when its size or time and its
    bytes are others.
    """
    from eml.cli.display import console

    of_table = {
        "--side": side, "--format": format_, "--quality": quality, "--interpolation": interpolation,
        "--folder": folder, "--root": root,
    }  # fmt: skip
    if source.suffix in CONFIGS:
        if given := [name for name, value in of_table.items() if value is not None]:
            raise ConfigError(
                f"{', '.join(given)}: for a table. A config says it under data.cache; change it with --set"
            )
        wanted = _of_config(source, set_ or [], clear=clear)
    else:
        if set_:
            raise ConfigError("--set: for a config; a table has --side, --format, --quality, --interpolation, --folder")
        wanted = [_of_table(source, root, side, format_, quality, interpolation, folder, clear=clear)]
    if clear:
        removed = _remove(wanted, keep=False)
        if not removed:
            console.say(f"no cache in {', '.join(map(str, {one.folder: None for one in wanted}))}")
        made: list[dict[str, Any]] = []
    else:
        made = [_fill(one, check=check) for one in wanted]
        removed = _remove(wanted, keep=True) if prune else []
    if json:
        console.print_json({"caches": made, "removed": removed})


def _of_config(config: Path, overrides: list[str], *, clear: bool) -> "list[Wanted]":
    from eml.cli.display import console
    from eml.config import load
    from eml.training.config import RunConfig

    run = load(RunConfig, config, overrides, override_name="--set")

    from eml.training.caches import caches_of_run
    from eml.training.data import table_to_train_on

    if run.data.cache is None and not clear:
        console.warn(
            f"{config} has no data.cache, so a run of it reads the files; to read this cache, set data.cache: raw"
        )
    return caches_of_run(run, table_to_train_on(run.data, console.say, console.progress))


def _of_table(
    source: Path,
    root: Path | None,
    side: int | None,
    format_: Literal["raw", "jpeg"] | None,
    quality: int | None,
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None,
    folder: Path | None,
    *,
    clear: bool,
) -> "Wanted":
    from eml.cli.display import console

    if side is None and not clear:
        raise DataError(
            f"{source}: a table needs --side, the shorter side (pixels) that a run wants: image.size / √(1 − crop), "
            "such as 192 for 160 and a crop of 0.3. A config knows it: eml cache CONFIG"
        )
    if quality is not None and format_ != "jpeg":
        raise DataError("--quality goes with --format jpeg")

    from eml.dataset.boxes import check_boxes
    from eml.dataset.pipeline import resolve
    from eml.training.caches import FOLDER, Wanted, images_settings

    table = resolve(source, "train", root, report=console.say, progress=console.progress)
    check_boxes(table, console.progress)
    settings = images_settings(side or 8, interpolation or "bicubic", format_ or "raw", quality or 95)
    return Wanted("images", table, table.frame, folder or table.root / FOLDER, settings)


def _fill(wanted: "Wanted", *, check: bool) -> dict[str, Any]:
    from eml.cli.display import console

    with ExitStack() as shown:  # the bar is there only while images are made: lines would be written into it
        done, advance = 0, None

        def show(now: int, total: int) -> None:
            nonlocal done, advance
            advance = advance or shown.enter_context(console.progress(f"cache for {wanted.use}", total))
            advance(now - done)
            done = now
            if now == total:
                shown.close()

        filled = wanted.fill(console.say, show, check=check)
    return {
        "use": wanted.use,
        "settings": str(wanted.settings),
        "folder": str(wanted.path),
        "images": len(wanted.frame),
        "made": filled.added,
        "bytes": filled.bytes,
        "seconds": round(filled.seconds, 2),
    }


def _remove(wanted: "Sequence[Wanted]", *, keep: bool) -> list[str]:
    """Removes the caches in the folders; keep: but those that are wanted."""
    from eml.cli.display import console
    from eml.files import MIB
    from eml.images.cache import caches
    from eml.images.cache.store import remove

    kept = {one.path for one in wanted} if keep else set()
    removed = []
    for folder in {one.folder: None for one in wanted}:
        for path, (holds, size) in caches(folder).items():
            if path not in kept:
                remove(path)
                console.say(f"removed {path} ({holds}; {size / MIB:,.1f} MiB)")
                removed.append(str(path))
    return removed
