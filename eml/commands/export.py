"""`eml export`: a checkpoint as a file of another library."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, PathText, command
from eml.commands.options import ImageSize, Plugins, UploadTo, Views, Weights
from eml.errors import EmlError

if TYPE_CHECKING:
    from eml.exporting.export import Exported
    from eml.exporting.proof.record import Proof


class ExportConfig(CommandConfig):
    """Write a model as a file that runs without eml, and prove that it answers alike.

    Everything from pixels to embeddings of unit length is in the file: normalisation, the views that the checkpoint
    averages, the network and its compression. Decoding and resizing stay outside; the file says how it is done, and
    `eml.load` does it, without torch.
    """

    checkpoint: Annotated[
        PathText,
        Field(description="A run folder (its best checkpoint), a checkpoint folder, timm:NAME or open_clip:…."),
    ]
    out: Annotated[
        PathField, Field(description="The file to write, such as model.onnx; with `format` hub, the folder.")
    ]
    format: str | None = Field(
        None,
        description="onnx, openvino, torch (torch.export), torchscript, safetensors or hub (a folder). Default: by the "
        "suffix of `out`.",
    )
    input: Literal["uint8", "float"] = Field(
        "uint8",
        description="What the file takes. uint8: RGB pixels of shape (batch, height, width, 3); float: normalised ones "
        "of shape (batch, 3, height, width).",
    )
    precision: Literal["float32", "float16", "int8"] = Field("float32", description="Of weights and products.")
    opset: int = Field(20, ge=1, description="Of ONNX.")
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    tta: Views = None
    licence: str | None = Field(None, description="The licence of your weights, for the model card of a hub folder.")
    calibrate_on: Annotated[
        PathField | None,
        Field(
            description="Table or folder of images that int8 takes the steps of its activations from; none of the "
            "proof's are used. Default: the images that the run was trained on."
        ),
    ] = None
    prove_on: Annotated[
        PathField | None,
        Field(
            description="Table or folder of images that the file is proved on. Default: the run's held-out fold, its "
            "test classes or the table that it was calibrated with, whichever has enough images."
        ),
    ] = None
    prove_images: int = Field(
        200, ge=0, description="Images of the proof, 4 or more, spread over classes; 0 writes the file without a proof."
    )
    least_cosine: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The least cosine between an image's embeddings by the file and by the checkpoint. Default: 0.9999 "
        "for float32; for fewer bits none, and retrieval decides.",
    )
    most_loss: float = Field(
        0.01,
        ge=0,
        le=1,
        description="MAP@R that may be lost; for fewer bits than float32 by the lower end of the 95 % interval.",
    )
    triton: bool = Field(
        False,
        description="Write a model repository for NVIDIA's Triton beside an ONNX file too: OUT.triton/NAME/ with "
        "config.pbtxt and 1/model.onnx.",
    )
    overwrite: bool = Field(False, description="Replace what is at `out`.")
    upload_to: UploadTo = None
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ExportResult(CommandResult):
    """An exported file."""

    exported: Exported

    @property
    def proof(self) -> Proof | None:
        """The proof; None: the file was not proved."""
        return None if self.exported.outcome is None else self.exported.outcome.proof

    @property
    def passed(self) -> bool:
        """Whether the proof passed, or there is none."""
        return self.proof is None or self.proof.passed

    def summary(self) -> str:
        """Return the file with what it takes and gives."""
        exported = self.exported
        facts = exported.facts
        shape = "{}×{}".format(*facts.preprocess.shape)
        texts = "" if exported.texts is None else f" or texts of {exported.texts.context_length} tokens"
        return (
            f"{exported.path}: {facts.backbone}, {shape} pixels ({facts.input}){texts} to {facts.embedding_size:,} "
            f"numbers, {facts.precision}, {exported.bytes / 1e6:.1f} MB"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the facts of the file."""
        exported = self.exported
        return {
            "path": str(exported.path),
            "format": exported.format,
            "bytes": exported.bytes,
            "files": [str(path) for path in exported.files],
            "facts": exported.facts.model_dump(mode="json"),
            "triton": None if exported.repository is None else str(exported.repository),
            "texts": None if exported.texts is None else exported.texts.model_dump(mode="json"),
            "proof": None if self.proof is None else self.proof.to_json(),
            "calibration": None if exported.outcome is None else exported.outcome.calibration_line,
        }


@command(ExportConfig, arguments=("checkpoint", "out"))
def export(config: ExportConfig, caller: Caller) -> ExportResult:
    """Export a checkpoint."""
    from eml.exporting.export import ExportOptions, export_model

    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in ("plugins", "upload_to")}
    exported = export_model(ExportOptions(**fields), report=caller.note, progress=caller.progress)
    result = ExportResult(exported=exported)
    pages = _write_page(result, config, caller)
    return replace(
        result,
        written=(*exported.files, *pages),
        replaced=tuple(exported.replaced),
        removed_files=tuple(exported.removed),
        next_command=_next_command(result, config),
    )


def _next_command(result: ExportResult, config: ExportConfig) -> str | None:
    """Return what a model whose proof passed is for: an index of the table's images, or the upload of a hub folder."""
    from eml.commands.next_steps import index_command
    from eml.exporting.hub.push import files_to_push
    from eml.files import from_here
    from eml.inference.exported.names import is_exported
    from eml.inference.image_list import list_images

    exported = result.exported
    if exported.outcome is None or not exported.outcome.proof.passed:
        return None
    try:
        if exported.format == "hub":
            files_to_push(exported.path)
            return shlex.join(["eml", "push", str(exported.path), "OWNER/NAME", "--dry-run"])
        if not is_exported(exported.path):
            return None
        table = exported.outcome.run.images.table
        place = config.prove_on or from_here(table.path or table.root)
        list_images([place])
    except EmlError:
        return None
    return index_command(str(exported.path), place)


def _write_page(result: ExportResult, config: ExportConfig, caller: Caller) -> list[Path]:
    """Write the page of the proof, if there is one."""
    from eml.reports.export.page import write_proof_page

    exported = result.exported
    if exported.outcome is None or exported.proof_page is None:
        return []
    write_proof_page(
        exported.outcome.run,
        exported.proof_page,
        model=exported.path,
        summary=result.summary(),
        calibration=exported.outcome.calibration_line,
        command=caller.command or "",
        progress=caller.progress,
    )
    return [exported.proof_page]
