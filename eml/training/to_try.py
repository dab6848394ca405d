"""Say what to try where training has not shown to help, by what is known of the run."""

from eml.training.config import RunConfig
from eml.training.recipe import usual_epochs

FEW = 4  # epochs; of fewer, the best one says nothing about the length


def to_try(config: RunConfig, *, images: int, epochs: int, best_epoch: int) -> list[str]:
    """Return the changes to try, one at a time, likeliest first.

    Args:
        config: Of the run.
        images: In its table.
        epochs: That the run took; fewer than the config's where no new best came.
        best_epoch: The epoch with the best validation.
    """
    pretrained = config.model.weights != "none"
    changes = []
    if not pretrained:
        changes.append("pretrained weights (model.weights)")
    if length := _length(config, usual_epochs(images, pretrained=pretrained), epochs, best_epoch):
        changes.append(length)
    if pretrained and (rate := config.optimizer.lr.backbone) > 0:
        changes.append(f"optimizer.lr.backbone {rate / 10:g}, a tenth")
        if config.model.freeze == 0:
            changes.append("model.freeze, which keeps early stages unchanged")
    margin = getattr(config.margin, "m", None)
    has_margin = isinstance(margin, float) and margin > 0
    if config.loss.compares_texts:  # by a scale that is learned
        changes.append("a larger batch_size, or loss.negatives all" + (", or a smaller margin.m" if has_margin else ""))
    else:
        changes.append("a smaller head.scale" + (" or margin.m" if has_margin else ""))
    changes.append("more classes")
    if pretrained and config.model.neck.type != "identity":
        changes.append("a neck of type identity")
    return changes


def _length(config: RunConfig, usual: int, epochs: int, best_epoch: int) -> str | None:
    """Return whether more or fewer epochs are worth a try; None where nothing speaks for either."""
    if epochs >= FEW and best_epoch <= epochs // 2:
        return f"fewer epochs: the best was {best_epoch} of {epochs}"
    if config.epochs < usual:
        return f"more epochs: {usual} are usual for so many images, and these were {config.epochs}"
    if best_epoch == config.epochs:
        return f"more epochs: the last of {epochs} was the best"
    return None
