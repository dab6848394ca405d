"""When a loss or gradient is no number: how to get back to before the step, and where it came from."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import own_part
from eml.errors import EmlError
from eml.head.class_head import ClassHead
from eml.models.embedder import Embedder
from eml.training.gradient_cache import random_state, set_random_state


class NotFiniteError(EmlError):
    """A loss or gradient that is no number. go_on: the command to resume with gentler settings."""

    def __init__(self, what: str, file_names: list[str], go_on: str) -> None:
        self.diagnosis = [
            what,
            f"its images: {', '.join(file_names[:8])}{', …' if len(file_names) > 8 else ''}",
            "likely causes: a learning rate that is too high, a warm-up that is too short, float16 (take bfloat16 or "
            "float32), broken weights",
        ]
        super().__init__([*self.diagnosis, f"the state before this step is saved; to go on more gently: {go_on}"])


class StepSnapshot:
    """What a step changes before its loss is known: running statistics, the margin's state, the random state.

    Weights and optimizer state change only after that. The memory of prototypes (VPL) is written in place and stays
    as the step left it.
    """

    def __init__(self, embedder: Embedder, head: ClassHead, device: torch.device) -> None:
        self.embedder, self.head, self.device = embedder, head, device
        self._statistics = [each for each in embedder.buffers() if each.is_floating_point() and each.numel()]
        self._copies = [each.clone() for each in self._statistics]
        self._counts = [each for each in embedder.buffers() if not each.is_floating_point() and each.numel()]
        self._old_counts = [each.clone() for each in self._counts]
        self.remember()

    def remember(self) -> None:
        """At the start of every step."""
        for copies, tensors in ((self._copies, self._statistics), (self._old_counts, self._counts)):
            if tensors:
                torch._foreach_copy_(copies, tensors)
        self._head = dict(self.head._buffers)  # the head replaces its buffers, so the old tensors are the old values
        self._random = random_state(self.device)

    def restore(self) -> None:
        """Undo all that."""
        for copies, tensors in ((self._copies, self._statistics), (self._old_counts, self._counts)):
            if tensors:
                torch._foreach_copy_(tensors, copies)
        self.head._buffers.update(self._head)
        set_random_state(self.device, self._random)


def find_nan_source(embedder: Embedder, head: ClassHead, images: Tensor, processes: Processes = SINGLE_PROCESS) -> str:
    """In words, where the first such number comes from, as far as this process sees it; all call this.

    It runs the network, so `StepSnapshot.restore` comes after.
    """
    broken = [each for each in processes.all_gather(_broken_weights(embedder, head)) if each is not None]
    if broken:  # the same in all, so that none goes on to call the network by itself
        return broken[0]
    for layer in embedder.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()  # it would wait for processes that have left above
    with torch.no_grad(), _watched(embedder) as found:
        embedder(images)
    if found:
        return f"the first layer to give such a number is {found[0]}"
    for key, parameter in (*embedder.named_parameters(), *head.named_parameters()):
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the network's embeddings are finite, its gradient is not, first at {key}"
    return "the network's embeddings are finite, so it comes from the class head or the loss"


def _broken_weights(embedder: Embedder, head: ClassHead) -> str | None:
    for module, name in ((embedder, "network"), (head, "class head")):
        for key, parameter in module.named_parameters():
            if not _finite(parameter):
                return f"weights of the {name} are not finite: {key}"
    return None


def _finite(tensor: Tensor) -> bool:
    """Of what this process has of it."""
    return bool(own_part(tensor).isfinite().all())


@contextmanager
def _watched(embedder: Embedder) -> Iterator[list[str]]:
    """Yields the names of layers whose output is not finite, in the order in which they ran."""
    found: list[str] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(f"{name} ({type(module).__name__})")

        return module.register_forward_hook(look)

    handles = [watch(name, module) for name, module in embedder.named_modules() if not list(module.children())]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
