"""Position embeddings keep their places when images change their shape."""

import pytest
import torch
from torch import Tensor, nn

from eml.models.backbones import create_backbone
from eml.models.positions import with_positions


def network(size: int | tuple[int, int]) -> nn.Module:
    return create_backbone("test_vit", size)


def marked(model: nn.Module, height: int, width: int) -> dict[str, Tensor]:
    """Weights whose positions say their place: row in the first number, column in the second, both from 0 to 1."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    table = tensors["pos_embed"]
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    extra = table.shape[1] - height * width
    table[0, extra:, 0], table[0, extra:, 1] = rows.flatten(), columns.flatten()
    return tensors


@pytest.mark.parametrize(
    "size, other, grid",
    [((256, 64), 128, (8, 8)), ((64, 128), (128, 64), (8, 4)), (128, (256, 64), (16, 4)), ((64, 32), (96, 48), (6, 3))],
)
def test_a_place_stays_a_place_also_where_the_number_of_patches_is_the_same(
    size: int | tuple[int, int], other: int | tuple[int, int], grid: tuple[int, int]
) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    stored, model = marked(network(size), height // 16, width // 16), network(other)
    placed = with_positions(stored, model, size)
    model.load_state_dict(placed)
    extra = placed["pos_embed"].shape[1] - grid[0] * grid[1]
    table = placed["pos_embed"][0, extra:].view(*grid, -1)
    assert (table[1:, :, 0] > table[:-1, :, 0]).all()
    assert (table[:, 1:, 1] > table[:, :-1, 1]).all()
    torch.testing.assert_close(placed["pos_embed"][0, :extra], stored["pos_embed"][0, :extra])


def test_squares_and_networks_without_patches_are_left_as_they_are() -> None:
    for backbone in ("test_vit", "test_resnet"):
        tensors = dict(create_backbone(backbone, 96).state_dict())
        placed = with_positions(tensors, create_backbone(backbone, 64), 96)
        assert all(placed[name] is tensor for name, tensor in tensors.items())
