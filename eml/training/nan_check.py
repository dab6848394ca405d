"""Undo a step whose loss or gradient is not finite, and find where the first NaN or infinity came from."""

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
    """A loss or gradient is not finite.

    Args:
        problem: What is not finite, and where it came from.
        file_names: Of the batch's images.
        command: That resumes with gentler settings.

    Attributes:
        diagnosis: The problem, the images and likely causes, a line each.
    """

    def __init__(self, problem: str, file_names: list[str], command: str) -> None:
        self.diagnosis = [
            problem,
            f"its images: {', '.join(file_names[:8])}{', …' if len(file_names) > 8 else ''}",
            "likely causes: a learning rate that is too high, a warm-up that is too short, float16 (use bfloat16 or "
            "float32), broken weights",
        ]
        super().__init__(
            [*self.diagnosis, f"the state before this step is saved; to resume with gentler settings: {command}"],
            code="not-finite",
        )


class StepSnapshot:
    """A copy of everything that a step changes before its loss is known.

    That is running statistics, the margin's state and the random state. Weights and optimizer state change only after
    that. The memory of prototypes (VPL) is written in place and is not restored.
    """

    def __init__(self, embedder: Embedder, head: ClassHead, device: torch.device) -> None:
        self.embedder, self.head, self.device = embedder, head, device
        buffers = [buffer for buffer in embedder.buffers() if buffer.numel()]
        self._statistics = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._old_statistics = [buffer.clone() for buffer in self._statistics]
        self._counts = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._old_counts = [buffer.clone() for buffer in self._counts]
        self.remember()

    def remember(self) -> None:
        """Take the copy; at the start of every step."""
        for copies, tensors in ((self._old_statistics, self._statistics), (self._old_counts, self._counts)):
            if tensors:
                torch._foreach_copy_(copies, tensors)
        self._head = dict(self.head._buffers)  # the head replaces its buffers and leaves the old tensors as they are
        self._random = random_state(self.device)

    def restore(self) -> None:
        """Undo the step."""
        for copies, tensors in ((self._old_statistics, self._statistics), (self._old_counts, self._counts)):
            if tensors:
                torch._foreach_copy_(tensors, copies)
        self.head._buffers.update(self._head)
        set_random_state(self.device, self._random)


def find_nan_source(embedder: Embedder, head: ClassHead, images: Tensor, processes: Processes = SINGLE_PROCESS) -> str:
    """Return in words where the first number that is not finite comes from, as far as this process sees it.

    It runs the network, so call `StepSnapshot.restore` after it.

    Args:
        embedder: The network.
        head: The class head.
        images: (B, 3, H, W) this process's part of the batch, as the network saw it.
        processes: All of them call this.
    """
    broken = [text for text in processes.all_gather(_broken_weights(embedder, head)) if text is not None]
    if broken:  # the same in all processes, so that none calls the network alone
        return broken[0]
    for layer in embedder.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()  # it would wait for processes that do not call the network
    with torch.no_grad(), _record_broken_layers(embedder) as layers:
        embedder(images)
    if layers:
        return f"the first layer whose output is not finite is {layers[0]}"
    for key, parameter in (*embedder.named_parameters(), *head.named_parameters()):
        if parameter.grad is not None and not _is_finite(parameter.grad):
            return f"the network's embeddings are finite, its gradient is not, first at {key}"
    if head.texts is not None and not _is_finite(head.texts.embed(torch.arange(head.shard.start, head.shard.stop))):
        return "the embeddings of images are finite, those of class texts are not (text tower)"
    return "the network's embeddings are finite, so it comes from the class head or the loss"


def _broken_weights(embedder: Embedder, head: ClassHead) -> str | None:
    for module, name in ((embedder, "network"), (head, "class head")):
        for key, parameter in module.named_parameters():
            if not _is_finite(parameter):
                return f"weights of the {name} are not finite: {key}"
    return None


def _is_finite(tensor: Tensor) -> bool:
    """Return whether this process's part of the tensor is finite."""
    return bool(own_part(tensor).isfinite().all())


@contextmanager
def _record_broken_layers(embedder: Embedder) -> Iterator[list[str]]:
    """Yield the names of layers whose output is not finite, in the order in which they run."""
    names: list[str] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not bool(output.isfinite().all()):
                names.append(f"{name} ({type(module).__name__})")

        return module.register_forward_hook(look)

    handles = [watch(name, module) for name, module in embedder.named_modules() if not list(module.children())]
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()
