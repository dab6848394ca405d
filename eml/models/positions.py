"""Position embeddings of networks that see patches: resampled where images, before or now, are no squares.

timm and open_clip take the patches of stored weights for those of a square. Of images of 64×32 pixels that fails, and
of 256×64, which has as many patches as 128×128, it would mix up the places without an error.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from eml.images.image_size import HeightWidth, Size, height_width

_NAMES = ("pos_embed", "positional_embedding")
"""Of the parameters, in timm and in open_clip."""


def with_positions(tensors: dict[str, Tensor], module: nn.Module, size: Size) -> dict[str, Tensor]:
    """Return the weights of a network for images of a size, with positions for the patches of a module.

    Squares that stay squares are left to the module's own library.

    Args:
        tensors: Name in the module → tensor.
        module: The network for images of another size, or of the same.
        size: Of the images that the tensors are for.
    """
    changed = {}
    for name, patch, grid in _tables(module):
        stored = tensors.get(name)
        height, width = height_width(size)
        before = height // patch[0], width // patch[1]
        is_square = before[0] == before[1] and grid[0] == grid[1]
        if stored is None or before == grid or is_square:
            continue
        extra = _length(module.get_parameter(name)) - grid[0] * grid[1]  # tokens that are no patches
        if extra >= 0 and _length(stored) == before[0] * before[1] + extra:
            changed[name] = _resampled(stored, before, grid, extra)
    return tensors | changed


def _tables(module: nn.Module) -> Iterator[tuple[str, HeightWidth, HeightWidth]]:
    """Yield each table of positions: its name, the size of a patch (pixels), and the patches down and across."""
    for prefix, inner in module.named_modules():
        patches: Any = getattr(inner, "patch_embed", inner)
        grid, patch = getattr(patches, "grid_size", None), getattr(patches, "patch_size", None)
        if not isinstance(grid, tuple) or not isinstance(patch, tuple):
            continue
        for name in _NAMES:
            table = getattr(inner, name, None)
            if isinstance(table, nn.Parameter) and table.ndim in (2, 3):
                yield f"{prefix}.{name}".lstrip("."), (patch[0], patch[1]), (grid[0], grid[1])


def _length(table: Tensor) -> int:
    return int(table.shape[-2])


def _resampled(table: Tensor, before: HeightWidth, grid: HeightWidth, extra: int) -> Tensor:
    """Return a table, (N, C) or (1, N, C), of another grid."""
    from timm.layers import resample_abs_pos_embed

    whole = table if table.ndim == 3 else table[None]
    resampled: Tensor = resample_abs_pos_embed(
        whole, list(grid), old_size=list(before), num_prefix_tokens=extra, verbose=False
    )
    return resampled if table.ndim == 3 else resampled[0]
