"""A batch through the network, whole or in parts, in the precision of the run."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from eml.training.data_parallel import SummedGradients

Precision = torch.dtype | None
"""What products are rounded to under autocast; None: nothing is."""


def precision_of(name: str, device: torch.device) -> Precision:
    """`auto` is bfloat16 on a CUDA device that has it, else none."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """For a block of a forward pass."""
    return torch.autocast(device.type, dtype=precision, enabled=precision is not None)


class GradientCache:
    """Forward and backward of the network on one batch after the other.

    In one part it is ordinary autograd. In several, no more than a part's activations are held: the parts are embedded
    without a graph, the loss is taken of the whole batch, and each part is embedded again to go back from the gradient
    at its embeddings (gradient cache, Gao 2021, arXiv:2101.06983). So a step is that of the whole batch whatever the
    margin looks at, which sums of losses over parts are not. Random layers draw the same both times; BatchNorm works
    on parts, and updates its running statistics in the second pass alone.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: Precision,
        parts: int = 1,
        gradients: SummedGradients | None = None,
    ) -> None:
        """gradients: of the network, where several processes sum them up; once a step, with the last part."""
        self.network, self.device, self.precision, self.parts = network, device, precision, parts
        self.gradients = gradients
        self._redo: list[Callable[[], Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """(B, D), where a gradient can be taken from. images: (B, 3, H, W), normalised."""
        parts = images.tensor_split(min(self.parts, len(images)))
        if len(parts) == 1:
            if self.gradients is not None:
                self.gradients.begin()
            return self._embed(images)
        statistics = [each for each in self.network.buffers() if each.numel()]
        before = [each.clone() for each in statistics]
        self._redo, embedded = [], []
        with torch.no_grad():
            for part in parts:
                random = random_state(self.device)
                embedded.append(self._embed(part))
                self._redo.append(lambda part=part, random=random: self._again(part, random))  # type: ignore[misc]
            for now, then in zip(statistics, before, strict=True):
                now.copy_(then)
        return torch.cat(embedded).requires_grad_()

    def backward(self, embeddings: Tensor) -> None:
        """From the gradient at what `forward` gave to the network's; of a batch in one part autograd has done that."""
        if self._redo:
            self._go_back_again(embeddings)
        if self.gradients is not None:
            self.gradients.finish()

    def _go_back_again(self, embeddings: Tensor) -> None:
        assert embeddings.grad is not None
        after, again, self._redo = random_state(self.device), self._redo, []
        for redo, gradient in zip(again, embeddings.grad.tensor_split(len(again)), strict=True):
            if self.gradients is not None and redo is again[-1]:
                self.gradients.begin()
            redo().backward(gradient)
        set_random_state(self.device, after)

    def _embed(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            embeddings: Tensor = self.network(images)
        return embeddings.float()

    def _again(self, part: Tensor, random: list[Tensor]) -> Tensor:
        set_random_state(self.device, random)
        return self._embed(part)


def random_state(device: torch.device) -> list[Tensor]:
    """Of the generators that layers such as dropout draw from: the CPU's, and the device's."""
    states = [torch.get_rng_state()]
    match device.type:
        case "cuda":
            states.append(torch.cuda.get_rng_state(device))
        case "mps":
            states.append(torch.mps.get_rng_state())
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Take up what `random_state` gave."""
    torch.set_rng_state(states[0])
    match device.type:
        case "cuda":
            torch.cuda.set_rng_state(states[1], device)
        case "mps":
            torch.mps.set_rng_state(states[1])
