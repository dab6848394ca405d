"""The parts of an optimizer step: mixing, loss, gradient norm, the check that both are finite, the update."""

import math
import shlex

from torch import Tensor

from eml.config.plugins import plugin_options
from eml.devices import to_device
from eml.head.class_head import ClassHead
from eml.images.mixes import Mixed
from eml.losses import Loss
from eml.training.build import RunParts
from eml.training.data_parallel import average_statistics, clip_gradients, gradient_norm
from eml.training.nan_check import NotFiniteError, find_nan_source


def mix_images(parts: RunParts, images: Tensor, step: int) -> tuple[Tensor, Mixed | None]:
    """Return the images (B, 3, H, W), mixed if the config says so, and how they were mixed; None if they were not."""
    config = parts.config
    if config.mix is None:
        return images, None
    mixed = config.mix(images, seed=config.seed, step=step, steps=parts.steps, rank=parts.processes.rank)
    return (mixed.images if mixed else images), mixed


def batch_loss(
    head: ClassHead, loss: Loss, embeddings: Tensor, labels: Tensor, mixed: Mixed | None, counts: list[int] | None
) -> tuple[Tensor, list[Tensor]]:
    """Return the mean loss () of the whole batch and the statistics of its terms.

    Args:
        head: The class head.
        loss: Of the head's terms.
        embeddings: (B, D) of this process's part of the batch.
        labels: (B,), on the CPU.
        mixed: How the images were mixed; None if they were not.
        counts: How many images of the batch each process has.
    """
    if mixed is None:
        terms = head(embeddings, labels, counts=counts)
        return loss(terms).mean(), terms.statistics()
    terms, partner_terms = head.mixed(embeddings, labels, labels[mixed.partners], mixed.share, counts=counts)
    share = head.shard.gathered(to_device(mixed.share, embeddings.device), counts)
    return loss.mixed(terms, partner_terms, share).mean(), terms.mixed_statistics(partner_terms, share)


def clip_gradient(parts: RunParts) -> Tensor:
    """Clip the whole gradient to the config's largest norm, and return its norm () before that."""
    parts.scaler.unscale_(parts.optimizer)
    rows = parts.head.sampled_rows()
    if parts.scaler.is_enabled():
        for row in rows:
            row.grad = None if row.grad is None else row.grad / parts.scaler.get_scale()
    trained = [parameter for group in parts.optimizer.param_groups for parameter in group["params"]] + rows
    norm = gradient_norm(trained, rows, parts.head)
    if parts.config.optimizer.clip is not None:
        clip_gradients(trained, parts.config.optimizer.clip, norm)
    return norm


def check_finite(parts: RunParts, step: int, loss: float, norm: float, images: Tensor, rows: Tensor) -> None:
    """Check the loss and the norm of its gradient; undo the step when one of them is not finite.

    In float16 a gradient that overflows is ordinary: the scaler skips the step and lowers its scale.

    Args:
        parts: Of the run.
        step: Number of the step, from 1.
        loss: Of the whole batch.
        norm: Of the whole gradient.
        images: This process's part of the batch, as the network saw it.
        rows: (B,) which training images they are.

    Raises:
        NotFiniteError: The loss or the norm is not finite.
    """
    may_overflow = parts.scaler.is_enabled() and parts.scaler.get_scale() > 1
    if math.isfinite(loss) and (math.isfinite(norm) or may_overflow):
        return
    names = parts.data.frame["file_name"].iloc[rows.tolist()].tolist()
    source = find_nan_source(parts.embedder, parts.head, images, parts.processes)
    sources = parts.processes.all_gather((source, names))
    vague = ("embeddings are finite", "class head or the loss")
    source, names = min(sources, key=lambda pair: sum(text in pair[0] for text in vague))  # the most specific one
    parts.snapshot.restore()
    problem = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of its gradient is {norm}"
    raise NotFiniteError(
        f"step {step}: {problem}; {source}",
        names,
        shlex.join(
            [
                *("eml", "train", str(parts.config.output / "config.yaml"), "--resume", "--accept-changes"),
                *plugin_options(),
                *("--set", "optimizer.clip=5"),
                *("--set", f"optimizer.lr.backbone={parts.config.optimizer.lr.backbone / 2:.3g}"),
            ]
        ),
    )


def update_weights(parts: RunParts, step: int, class_weights_rate: float, *, overflowed: bool) -> None:
    """Move the weights, and the running statistics and running mean that follow from them.

    Args:
        parts: Of the run.
        step: Number of the step, from 1.
        class_weights_rate: Learning rate of sampled class weights, which the head updates itself.
        overflowed: The gradient overflowed in float16, so the scaler skips the optimizer's step and the head skips its
            own.
    """
    parts.start_decay.before()
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.start_decay.after(skipped=overflowed)
    if overflowed:
        parts.head.forget_step()
    else:
        parts.head.step(class_weights_rate, parts.config.optimizer.class_weight_decay)
    average_statistics(parts.embedder, parts.processes)
    if parts.networks.ema is not None:
        parts.networks.ema.update(parts.embedder, step)
