"""`eml export`: a checkpoint as a file of another library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, PathText, command
from eml.commands.options import ImageSize, Views, Weights

if TYPE_CHECKING:
    from eml.exporting.export import Exported


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
    out: Annotated[PathField, Field(description="The file to write, such as model.onnx.")]
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
    overwrite: bool = Field(False, description="Replace what is at `out`.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ExportResult(CommandResult):
    """An exported file."""

    exported: Exported

    def summary(self) -> str:
        """Return the file with what it takes and gives."""
        exported = self.exported
        facts = exported.facts
        shape = "{}×{}".format(*facts.preprocess.shape)
        return (
            f"{exported.path}: {facts.backbone}, {shape} pixels ({facts.input}) to {facts.embedding_size:,} numbers, "
            f"{facts.precision}, {exported.bytes / 1e6:.1f} MB"
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
        }


@command(ExportConfig, arguments=("checkpoint", "out"))
def export(config: ExportConfig, caller: Caller) -> ExportResult:
    """Export a checkpoint."""
    from eml.exporting.export import ExportOptions, export_model

    fields = {name: getattr(config, name) for name in type(config).model_fields}
    exported = export_model(ExportOptions(**fields), report=caller.note, progress=caller.progress)
    return ExportResult(exported=exported, written=tuple(exported.files), replaced=tuple(exported.replaced))
