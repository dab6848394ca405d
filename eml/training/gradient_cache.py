"""A batch through the network, whole or in parts, in the precision of the run."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from eml.training.data_parallel import SummedGradients

Precision = torch.dtype | None
"""The type that autocast rounds products to; None: no autocast."""


def precision_of(name: str, device: torch.device) -> Precision:
    """Return the type of a config's `precision`; `auto` is bfloat16 on a CUDA device that has it, else None."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context that runs a forward pass in this precision."""
    return torch.autocast(device.type, dtype=precision, enabled=precision is not None)


class GradientCache:
    """Forward and backward pass of the network, on a batch in one or several parts.

    In one part it is ordinary autograd. In several parts only one part's activations are held at a time: the parts are
    embedded without a graph, the loss is computed on the whole batch, and each part is embedded again and
    backpropagated from the gradient at its embeddings (gradient cache, Gao 2021, arXiv:2101.06983). The step equals
    that of the whole batch for every margin, unlike accumulated losses of parts. Random layers draw the same both
    times; BatchNorm sees parts, and updates its running statistics only in the second pass.

    Args:
        network: Images → embeddings.
        device: Where it is.
        precision: Of the forward pass.
        parts: In how many parts a batch goes through the network.
        gradients: Sums the network's gradients over several processes, once a step, with the last part.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: Precision,
        parts: int = 1,
        gradients: SummedGradients | None = None,
    ) -> None:
        self.network, self.device, self.precision, self.parts = network, device, precision, parts
        self.gradients = gradients
        self._redo: list[Callable[[], Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, D) that a gradient can be computed at. images: (B, 3, H, W), normalised."""
        parts = images.tensor_split(min(self.parts, len(images)))
        if len(parts) == 1:
            if self.gradients is not None:
                self.gradients.begin()
            return self._embed(images)
        statistics = [buffer for buffer in self.network.buffers() if buffer.numel()]
        before = [buffer.clone() for buffer in statistics]
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
        """Backpropagate from the embeddings' gradient to the network; for one part autograd has done that already."""
        if self._redo:
            self._backward_in_parts(embeddings)
        if self.gradients is not None:
            self.gradients.finish()

    def _backward_in_parts(self, embeddings: Tensor) -> None:
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
    """Return the states of the generators that layers such as dropout draw from: the CPU's, then the device's."""
    states = [torch.get_rng_state()]
    match device.type:
        case "cuda":
            states.append(torch.cuda.get_rng_state(device))
        case "mps":
            states.append(torch.mps.get_rng_state())
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Restore states that `random_state` returned."""
    torch.set_rng_state(states[0])
    match device.type:
        case "cuda":
            torch.cuda.set_rng_state(states[1], device)
        case "mps":
            torch.mps.set_rng_state(states[1])
