"""`eml suspects`: images whose label is probably wrong."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.options import Device, Overwrite, Plugins, UnknownLabel, refuse_remote_out

if TYPE_CHECKING:
    from eml.evaluation.trained_overlap import TrainedOverlap
    from eml.retrieval.label_errors import Suspects

FILES = ("suspects.csv", "ambiguous.csv", "suspect_classes.csv", "suspects.html")


class SuspectsConfig(CommandConfig):
    """List images whose label is probably wrong, and show them.

    An image is suspect when the images most similar to it have another label, by the embeddings of a network that has
    not been trained on it. Writes suspects.csv (most probable first, with the suggested label), ambiguous.csv (between
    two classes, or near to nothing), suspect_classes.csv (classes that are one class, or of which a part belongs to
    another) and suspects.html (with the images). Tick on the page what is wrong, save the list and give it to
    eml filter --exclude. No image is touched.
    """

    source: Annotated[
        PathField,
        Field(
            description="The folder of eml train --fold all, or an .npz or .parquet with embeddings, file_name and "
            "label."
        ),
    ]
    unknown_label: UnknownLabel = None
    min_score: float = Field(
        0.9, ge=0.5, le=1, description="Fewest odds of a label error, as a share: 0.9 is nine to one."
    )
    top: int = Field(100, ge=0, description="Most probable errors shown on the page; the table has all.")
    root: Annotated[
        PathField | None, Field(description="The folder of the images. Default: the run's, else the file's.")
    ] = None
    one_network: bool = Field(
        False, description="One network made all embeddings: compare them whatever their fold is."
    )
    device: Device = "auto"
    out: Annotated[PathField | None, Field(description="Folder for the files. Default: where `source` is.")] = None
    overwrite: Overwrite = False
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SuspectsResult(CommandResult):
    """Probable label errors.

    Attributes:
        source: The file of embeddings.
        suspects: The images and classes, and how sure the votes are.
        trained_on: How many of the images were trained on by the network that judges them.
    """

    source: Path
    suspects: Suspects
    trained_on: TrainedOverlap

    @property
    def counts(self) -> dict[str, Any]:
        """How many images were judged, and how many are suspect."""
        suspects = self.suspects
        between = set(suspects.between.tolist()) | set(suspects.outliers.tolist())
        return {
            "source": str(self.source),
            "images": len(suspects.images.labels),
            "classes": len(suspects.names),
            "networks": len(suspects.votes.temperatures),
            "min_score": suspects.min_score,
            "probable_label_errors": len(suspects.wrong),
            "ambiguous": len(between),
            "near_to_nothing": len(suspects.outliers),
            "one_class": len(suspects.same),
            "mixed_classes": len(suspects.mixed),
            "not_judged": suspects.unjudged,
            "trained_on": self.trained_on.facts(),
        }

    def summary(self) -> str:
        """Return the number of suspects and the page."""
        counts = self.counts
        return f"{counts['probable_label_errors']:,} of {counts['images']:,} images are suspect, {self.written[-1]}"

    def summary_table(self) -> SummaryTable:
        """Return the main counts."""
        counts = self.counts
        return ["", ""], [
            ["images", counts["images"]],
            ["classes", counts["classes"]],
            [f"probable label errors (score {counts['min_score']} or more)", counts["probable_label_errors"]],
            ["ambiguous images", counts["ambiguous"]],
            ["pairs of classes that are one class", counts["one_class"]],
            ["mixed classes", counts["mixed_classes"]],
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        return self.counts | {"written": [str(path) for path in self.written]}


@command(SuspectsConfig, arguments=("source",))
def suspects(config: SuspectsConfig, caller: Caller) -> SuspectsResult:
    """Find label errors, and write the lists and the page."""
    from eml.dataset.table import check_outputs, write_tables
    from eml.files import refuse_file_name
    from eml.models.device import find_device
    from eml.reports.suspects import write_page
    from eml.retrieval.device import computing_on
    from eml.retrieval.label_errors import ambiguous_table, class_table, find_suspects, wrong_table
    from eml.training.out_of_fold import read_embedded, read_overlap

    if config.out is not None:
        refuse_file_name(config.out, "a folder for the tables and the page")
    device = find_device(config.device)
    refuse_remote_out(config.source, config.out, caller)
    folder = config.out or (config.source if config.source.is_dir() else config.source.parent)
    paths = [folder / name for name in FILES]
    replaced = check_outputs(paths, overwrite=config.overwrite)  # before the work, not after it
    path, root, images = read_embedded(
        config.source, config.root, one_network=config.one_network, unknown_label=config.unknown_label
    )
    with computing_on(device):
        findings, overlap = find_suspects(images, config.min_score), read_overlap(path)
    tables = (wrong_table(findings), ambiguous_table(findings), class_table(findings))
    line = caller.command or "eml suspects"
    paths[-1].unlink(
        missing_ok=True
    )  # an older page must not stand beside these tables, if this ends before the new one
    # Without inputs: a table filtered by the list is not out of date because the network was trained again.
    write_tables(dict(zip(paths, tables, strict=False)), command=line, root=root, overwrite=config.overwrite)
    write_page(
        findings,
        root,
        paths[-1],
        top=config.top,
        command=line,
        filter_command=_filter_command(root.absolute()) or "eml filter DATASET",
        table=paths[0],
        caution=overlap.caution(),
        progress=caller.progress,
    )
    return SuspectsResult(
        source=path,
        suspects=findings,
        trained_on=overlap,
        written=tuple(paths),
        replaced=tuple(replaced),
        next_command=_next_command(root, paths[0]) if len(findings.wrong) else None,
    )


def _next_command(root: Path, suspects_table: Path) -> str | None:
    """Return the command that leaves the suspects out; None where the dataset has no table of its own."""
    exclude = shlex.join(["--exclude", str(suspects_table)])
    command = _filter_command(root)
    return None if command is None else command if exclude in command else f"{command} {exclude}"


def _filter_command(root: Path) -> str | None:
    """Return the command that filtered the dataset before, to be repeated with a list to exclude, else a plain one.

    Args:
        root: The dataset, as the command is to name it; None is returned where it has no table of its own.
    """
    from eml.dataset.sidecar import read_sidecar

    sidecar = read_sidecar(root / "dataset_info_filtered.csv")
    if sidecar is not None and sidecar.command.startswith("eml filter "):
        words = shlex.split(sidecar.command)
        named = [place for place, word in enumerate(words) if Path(word).resolve() == root.resolve()]
        if named or not root.is_absolute():
            return shlex.join(str(root) if place in named else word for place, word in enumerate(words))
    return shlex.join(["eml", "filter", str(root)]) if (root / "dataset_info.csv").exists() else None
