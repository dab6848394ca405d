"""A batch through the network, whole or in parts, in the precision of the run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from eml.distributed.sharded_network import is_sharded
from eml.errors import ConfigError
from eml.models.embedder import Embedder
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

    In one part it is ordinary autograd. In several parts only one part's activations are held at a time: the parts go
    through the backbone without a graph, neck and loss are computed on the whole batch, and each part goes through the
    backbone again and is backpropagated from the gradient at its features (gradient cache, Gao 2021, arXiv:2101.06983).
    The step equals that of the whole batch for every margin, unlike accumulated losses of parts. Random layers draw the
    same both times; the backbone's BatchNorm layers see parts, and update their running statistics only in the second
    pass. A network that is sharded takes its neck in parts too.

    Args:
        network: Images → embeddings.
        device: Where it is.
        precision: Of the forward pass.
        parts: In how many parts a batch goes through the network.
        gradients: Sums the network's gradients over several processes, once a step, with the last part.
    """

    def __init__(
        self,
        network: Embedder,
        device: torch.device,
        precision: Precision,
        parts: int = 1,
        gradients: SummedGradients | None = None,
    ) -> None:
        self.network, self.device, self.precision, self.parts = network, device, precision, parts
        self.gradients = gradients
        self._redo: list[Callable[[], Tensor]] = []
        self._features: Tensor | None = None  # of the whole batch, where the neck takes them so

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, D) that a gradient can be computed at. images: (B, 3, H, W), normalised.

        Raises:
            ConfigError: A part is too small for BatchNorm.
        """
        parts = images.tensor_split(min(self.parts, len(images)))
        self._redo, self._features = [], None
        if len(parts) == 1:
            if self.gradients is not None:
                self.gradients.begin()
            return self._run(self.network, images).float()
        if is_sharded(self.network):  # its parts of the weights are gathered for the whole network alone
            return self._in_parts(self.network, parts).float().requires_grad_()
        self._features = self._in_parts(self.network.features, parts)
        if any(weight.requires_grad for weight in self.network.backbone.parameters()):
            self._features.requires_grad_()
        return self._run(self.network.neck, self._features).float()

    def backward(self, embeddings: Tensor) -> None:
        """Backpropagate from the embeddings' gradient to the network; for one part autograd has done that already."""
        if self._redo:
            self._backward_in_parts(embeddings if self._features is None else self._features)
        if self.gradients is not None:
            self.gradients.finish()

    def _in_parts(self, module: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> Tensor:
        """Return a module's output for all parts, without a graph; note how to compute each with one."""
        statistics = [buffer for buffer in self.network.buffers() if buffer.numel()]
        before = [buffer.clone() for buffer in statistics]
        outputs = []
        with torch.no_grad():
            for part in parts:
                random = random_state(self.device)
                outputs.append(self._run(module, part))
                self._redo.append(lambda part=part, random=random: self._again(module, part, random))  # type: ignore[misc]
            for now, then in zip(statistics, before, strict=True):
                now.copy_(then)
        return torch.cat(outputs)

    def _backward_in_parts(self, outputs: Tensor) -> None:
        after, again, self._redo, self._features = random_state(self.device), self._redo, [], None
        gradients = outputs.grad.tensor_split(len(again)) if outputs.grad is not None else ()
        if self.gradients is not None and not gradients:  # the backbone does not train
            self.gradients.begin()
        for redo, gradient in zip(again, gradients, strict=False):
            if self.gradients is not None and redo is again[-1]:
                self.gradients.begin(done=() if is_sharded(self.network) else self._done())
            redo().backward(gradient)
        set_random_state(self.device, after)

    def _done(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that have their whole gradient before the parts go backward."""
        yield from self.network.neck.parameters()
        if self.network.text is not None:
            yield from self.network.text.parameters()

    def _run(self, module: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        try:
            with autocast(self.device, self.precision):
                return module(inputs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                "accumulate: a part of a batch has one image, of which BatchNorm can take no statistics; divide the "
                "batch into fewer parts (accumulate), enlarge it (batch_size) or set model.batch_norm: frozen",
                code="out-of-range",
                parameter="accumulate",
            ) from error

    def _again(self, module: Callable[[Tensor], Tensor], part: Tensor, random: list[Tensor]) -> Tensor:
        set_random_state(self.device, random)
        return self._run(module, part)


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
