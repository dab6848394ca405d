import copy

import torch
from torch import nn

from eml.head.buffers import NamedBuffers
from eml.margins.curricularface import CurricularFace
from tests.head.heads import batch_of_four, head_of_four


def test_buffers_are_saved_under_their_prefix_and_replaced_as_new_tensors() -> None:
    module = nn.Module()
    buffers = NamedBuffers(module, "margin", {"t": torch.zeros(()), "steps": torch.tensor(3)}, torch.float64)
    before = buffers["t"]
    buffers.replace({"t": torch.ones(())})
    assert before.item() == 0
    assert {key: (value.item(), value.dtype) for key, value in module.state_dict().items()} == {
        "margin_t": (1.0, torch.float64),
        "margin_steps": (3, torch.int64),
    }
    module.to(torch.float32)
    module.load_state_dict({"margin_t": torch.tensor(2.0), "margin_steps": torch.tensor(4)})
    assert {name: value.item() for name, value in buffers.read().items()} == {"t": 2, "steps": 4}
    assert buffers["t"].dtype == torch.float32


def test_a_copied_head_has_a_state_of_its_own() -> None:
    head = head_of_four(CurricularFace())
    twin = copy.deepcopy(head)
    twin(*batch_of_four())
    assert twin.state()["t"] != 0
    assert head.state()["t"] == 0
