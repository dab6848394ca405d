"""Weight decay of both towers towards the weights that training starts from. Li 2018, arXiv:1802.01483, eq. 3."""

from typing import Any

import torch
from torch import Tensor

from eml.distributed.sharded_network import own_part

START = "start"
"""Key of a parameter's first value in the optimizer's state, with which it is saved, sharded and resumed."""


class StartDecay:
    """One step towards the start, w ← w − lr·strength·(w − w₀), after each step of the optimizer (L2-SP).

    The paper adds strength/2·‖w − w₀‖² to the loss, which for plain SGD is this step. Deviation: it is decoupled from
    the gradient, as AdamW decouples weight decay (arXiv:1711.05101), so that Adam does not divide it by the size of the
    gradients. It acts on the trained weights of backbone and text tower, in place of their weight decay; of adapters on
    A and B.

    Args:
        optimizer: As `build_optimizer` returns it.
        strength: 0: nothing is done.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, strength: float) -> None:
        self.optimizer, self.strength = optimizer, strength
        self._starts: list[tuple[Tensor, Tensor]] = []

    def before(self) -> None:
        """Copy the weights that have no start yet: all of them before the first step."""
        for group in self._groups():
            for weight in group["params"]:
                if START not in self.optimizer.state.get(weight, {}):
                    self._starts.append((weight, weight.detach().clone()))

    @torch.no_grad()
    def after(self, *, skipped: bool) -> None:
        """Take the step towards the start. skipped: the optimizer took no step, in float16, so this one takes none."""
        for weight, start in [] if skipped else self._starts:
            self.optimizer.state[weight][START] = start  # not before its step, which makes the state of an empty one
        self._starts = []
        for group in [] if skipped else self._groups():
            starts = [own_part(self.optimizer.state[weight][START]) for weight in group["params"]]
            weights = [own_part(weight) for weight in group["params"]]
            torch._foreach_lerp_(weights, starts, min(1.0, group["lr"] * self.strength))

    def _groups(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups if self.strength else []
        return [group for group in groups if group["part"] in ("backbone", "text")]
