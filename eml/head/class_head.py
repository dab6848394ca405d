"""The class head: from embeddings and labels to the loss terms of each sample."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from eml.devices import rounds_products, to_device
from eml.errors import ConfigError
from eml.head.active_classes import ActiveClasses
from eml.head.checks import check_batch, check_draws, check_not_empty, check_share
from eml.head.class_weights import ClassWeights
from eml.head.config import HeadConfig
from eml.head.graphs import outside_graphs
from eml.head.margin_state import MarginState
from eml.head.modes import Sampled
from eml.head.negatives import LogitInputs, LogitSpec, NegativeTerms, changes_negatives
from eml.head.reduction import (
    add_second_label,
    add_target,
    detach_context,
    loss_weights,
    objective,
    penalty,
    reduce_negatives,
    target_logit,
)
from eml.head.sampled_rows import SampledRows
from eml.head.shards import Shard
from eml.head.text_rows import TextRows
from eml.head.text_terms import TextTerm
from eml.head.text_weights import TextWeights
from eml.losses import Terms
from eml.margins import Context, Margin, Statistics

TF32_EPS = 2.0**-10  # of a fraction of 10 bits


@dataclass(frozen=True)
class _Batch:
    """A checked batch of all processes: (B, D) embeddings, classes, draws per label, factor of m, share of label 1,
    and by how much rounded factors of the large product change it."""

    embeddings: Tensor
    active: ActiveClasses
    draws: list[Tensor | None]
    factor: float
    share: float | Tensor
    factor_rounding: float


class ClassHead(ClassWeights):
    """Class weights and a margin, as a module for training: embeddings (B, D) and labels (B,) → per-sample `Terms`.

    A loss turns the terms into (B,) losses: `CrossEntropy()(head(embeddings, labels)).mean()`. A matrix B×C is held
    only in mode `dense`, or in mode `auto` while it is small.

    Cosines and margins are computed in float32 with autocast off, in float64 if the embeddings are float64. The
    margin's state is kept in buffers: each call in training mode updates it; eval mode freezes it and uses no random
    numbers.

    Where several processes share the classes (`shard`), each passes the embeddings and labels of its part of the batch
    and gets the terms of the whole batch, the same in all processes. The mean of their losses is the loss, and its
    gradient with respect to what a process passes and holds is exact: gradients are not divided by the number of
    processes.

    Args:
        margin: The margin.
        num_classes: C, at least 2.
        embedding_size: D.
        config: Scale, centres, memory, mode and the other settings that hold for any margin.
        counts: Images per class, for margins and loss weights that depend on them.
        class_weights: (C, D) or (C, K, D) tensor to use instead of new weights.
        dtype: Of weights and state; torch's default if None.
        shard: Classes that this process holds; None for all of them.
        texts: Class texts whose embeddings take the place of class weights in each step; the scale is then the text
            tower's, and the terms have the other direction too (`text_to_image`).
        text: A term of the loss from the classes' texts, in training; off until `text_term.set` gives their vectors.

    Attributes:
        class_weights: (C, D), or (C, K, D) with K centres per class; of a shard, its classes only; (0, D) with texts.
        progress: How far the training is, in [0, 1]; set it before each step if the margin has a schedule.

    Raises:
        ConfigError: Margin and config do not fit together.
        ValueError: `num_classes` is below 2, `embedding_size` below 1, `counts` has another length, or `class_weights`
            another shape.
    """

    class_margins: Tensor | None
    loss_weights: Tensor | None

    def __init__(
        self,
        margin: Margin,
        num_classes: int,
        embedding_size: int,
        config: HeadConfig | None = None,
        *,
        counts: Sequence[int] | None = None,
        class_weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
        shard: Shard | None = None,
        texts: TextWeights | None = None,
        text: TextTerm | None = None,
    ) -> None:
        config, dtype = config or HeadConfig(), dtype or torch.get_default_dtype()
        if num_classes < 2:
            raise ValueError(f"a class head needs at least 2 classes, got {num_classes}")
        if embedding_size < 1:
            raise ValueError(f"embedding_size must be 1 or more, got {embedding_size}")
        if counts is not None and len(counts) != num_classes:
            raise ValueError(f"counts must have a number per class, got {len(counts)} for {num_classes} classes")
        if problems := config.problems(margin, num_classes, counts):
            raise ConfigError(problems)
        shard = shard or Shard.whole(num_classes)
        super().__init__(margin, shard, embedding_size, config, class_weights=class_weights, dtype=dtype, texts=texts)
        self.progress, self.first_scale = 1.0, config.first_scale(margin, num_classes)
        log_scale = math.log(self.first_scale) if config.scale == "learned" else None
        offset = margin.initial_bias(num_classes, self.first_scale) if margin.reduction == "bce" else None
        self.log_scale = None if log_scale is None else nn.Parameter(torch.tensor(log_scale, dtype=dtype))
        self.logit_bias = None if offset is None else nn.Parameter(torch.tensor(offset, dtype=dtype))
        self.margin_state = MarginState(self, margin, config, num_classes, counts, dtype)
        self.sampled: SampledRows | None = None
        if isinstance(config.mode, Sampled):
            self.sampled = SampledRows(self, config.mode, self.shard, self.class_weights, dtype)
        self.text_term = None if text is None else TextRows(self, text, self.shard, embedding_size, dtype)
        weights = loss_weights(counts, config.loss_weight_power) if config.loss_weight_power and counts else None
        buffer = None if weights is None else torch.tensor(weights, dtype=dtype)
        self.register_buffer("loss_weights", buffer, persistent=False)

    @property
    def scale(self) -> float:
        """The current scale where it is one number: the head's, or AdaCos's."""
        with torch.no_grad():
            return float(self.state().get("scale", self._base_scale()))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        draws: Tensor | None = None,
        classes: Tensor | None = None,
        counts: list[int] | None = None,
    ) -> Terms:
        """Return the loss terms of each sample.

        Args:
            embeddings: (B, D) floating point, of any length.
            labels: (B,) int64 in [0, C), best on the CPU: they are checked there, and no device is waited for.
            draws: (B,) standard normal numbers to use instead of random ones.
            classes: (n,) sorted ids of classes to compare with instead of a random sample, the labels among them; only
                in mode `sampled`, in training.
            counts: Embeddings per process; exchanged between the processes if None.

        Raises:
            ValueError: Shapes, labels, `classes` or `counts` do not fit.
        """
        return self._terms(self._batch(embeddings, [labels], 1.0, [draws], classes, counts))[0]

    def mixed(
        self,
        embeddings: Tensor,
        labels: Tensor,
        labels_b: Tensor,
        share: float | Tensor,
        *,
        counts: list[int] | None = None,
    ) -> tuple[Terms, Terms]:
        """Return the loss terms for each of the two labels of mixed samples (mixup, cutmix), each with its own margin.

        The loss is `Loss.mixed` of the two. The large product is computed once for both.

        Args:
            embeddings: (B, D) of the mixed images.
            labels: (B,) first labels.
            labels_b: (B,) second labels.
            share: Weight of the first label in [0, 1], one number or (B,).
            counts: Embeddings per process; exchanged between the processes if None.

        Raises:
            ConfigError: The margin's loss is no softmax over classes, or the head has a memory of embeddings or texts.
            ValueError: Shapes, labels or share do not fit.
        """
        if self.texts is not None:
            raise ConfigError("mixup does not go with texts", code="conflicting-settings", parameter="loss")
        if self.margin.reduction != "softmax" or self.memory is not None:
            loss = self.margin.reduction != "softmax"
            part = f"{self.margin.reduction} loss" if loss else "memory of embeddings"
            text = f"mixup does not go with the {part} of margin {self.margin.type}"
            raise ConfigError(text, code="conflicting-settings", parameter="margin" if loss else "head.prototypes")
        first, second = self._terms(self._batch(embeddings, [labels, labels_b], share, [None, None], None, counts))
        return first, second

    def logits(self, embeddings: Tensor, labels: Tensor, *, draws: Tensor | None = None) -> Tensor:
        """Return the (B, C) logits after margin and scale, for study; updates no state and draws no random numbers.

        Args:
            embeddings: (B, D).
            labels: (B,) int64 in [0, C).
            draws: (B,) standard normal numbers for a margin that uses some.

        Raises:
            ValueError: Shapes or labels do not fit, or several processes share the classes.
        """
        check_batch(embeddings, labels, self.num_classes, self.embedding_size)
        check_not_empty(embeddings)
        labels = to_device(labels, embeddings.device)
        if self.shard.group is not None:
            raise ValueError("logits need all classes, and this process holds a part of them")
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings, norms = self.normalise(embeddings)
            cosines = self.target_cosines(embeddings, [labels], [self.class_weights[labels]])
            factor = self.margin_state.factor(self.progress)
            (context,) = self.margin_state.contexts(cosines, norms, [labels], [draws], factor)
            scale = self.margin_state.scale(self._base_scale(), context)
            rows = self.rows(self.class_weights.to(embeddings.dtype), slice(None))
            spec = LogitSpec(self.margin, [context], low_precision=self.config.product == "bfloat16")
            cosine = spec.cosine(embeddings, rows, self.bias)
            negatives = spec.logits(cosine, detach_context(context), scale, self.logit_bias)
            target = target_logit(self.margin, context, scale, self.logit_bias)
            return negatives.scatter(1, labels.unsqueeze(1), target.unsqueeze(1))

    def start_step(self, step: int, steps: int) -> None:
        """Set how far the training is, before each step. step: from 0; steps: of the whole training."""
        self.progress = step / max(1, steps - 1)
        if self.texts is not None:
            self.texts.step = step

    def sampled_rows(self) -> list[Tensor]:
        """Return the leaf tensors (n, …) of the class weights sampled since the last step, with their gradients."""
        return [] if self.sampled is None else [sample.weights for sample in self.sampled.pending]

    def step(self, learning_rate: float, weight_decay: float = 0.0) -> None:
        """Update the class weights from the gradients of the rows sampled since the last step.

        Does nothing to them unless the mode is `sampled`: otherwise the class weights are parameters for any optimizer.
        The scale of a text tower, which an optimizer has moved, is kept in its bounds.
        """
        if self.sampled is not None:
            self.sampled.step(self.class_weights, learning_rate, weight_decay)
        if self.texts is not None:
            self.texts.clamp_scale()

    def forget_step(self) -> None:
        """Drop the rows sampled since the last step, with their gradients."""
        if self.sampled is not None:
            self.sampled.pending = []

    def _current_scale(self, like: Tensor) -> Tensor:
        """Return `scale` as a tensor () with the dtype and device of another."""
        with torch.no_grad():
            scale = self.state().get("scale", self._base_scale())
            return scale.to(like) if isinstance(scale, Tensor) else like.new_full((), scale)

    def _base_scale(self) -> float | Tensor:
        """Return the head's scale, before the margin's own rule for it."""
        if self.texts is not None:
            return self.texts.scale(self.shard)
        return self.first_scale if self.log_scale is None else self.log_scale.exp()

    @outside_graphs
    def _batch(
        self,
        embeddings: Tensor,
        labels: list[Tensor],
        share: float | Tensor,
        draws: list[Tensor | None],
        classes: Tensor | None,
        counts: list[int] | None,
    ) -> _Batch:
        """Check the whole batch and draw its random numbers, which reads values and so stays out of a graph."""
        for row_labels in labels:
            check_batch(embeddings, row_labels, self.num_classes, self.embedding_size)
        check_share(share, len(embeddings))
        are_known = self.shard.group is None and all(row_labels.device.type == "cpu" for row_labels in labels)
        host_labels = labels if are_known else None
        labels = [to_device(row_labels, embeddings.device) for row_labels in labels]
        counts = counts or self.shard.counts(embeddings)
        if counts[self.shard.rank] != len(embeddings):
            raise ValueError(f"process {self.shard.rank} has {len(embeddings)} embeddings, counts says {counts}")
        embeddings, *labels = (self.shard.gathered(local, counts) for local in (embeddings, *labels))
        if isinstance(share, Tensor) and share.ndim:
            share = self.shard.gathered(to_device(share, embeddings.device), counts)
        check_not_empty(embeddings)
        for row_draws in draws:
            check_draws(row_draws, len(embeddings))
        if self.sampled is not None and self.training:
            dtype = torch.promote_types(embeddings.dtype, torch.float32)
            active = self.sampled.draw(self.class_weights, labels, classes, dtype, host_labels)
        elif self.texts is not None:
            active = self.texts.active(labels, host_labels, self.shard)
        elif classes is not None:
            raise ValueError("classes can only be given in mode sampled, in training")
        else:
            active = self.all_classes(labels, host_labels)
        if self.training:
            count, device = len(embeddings), self.class_weights.device
            draws = [self.margin_state.draw(count, device) if rows is None else rows for rows in draws]
        rounding = self._factor_rounding(embeddings.device)
        return _Batch(embeddings, active, draws, self.margin_state.factor(self.progress), share, rounding)

    def _terms(self, batch: _Batch) -> list[Terms]:
        """Return the terms for each label, and update the state in training."""
        return self._compute_terms(batch) if self._is_traceable(batch) else self._eager_terms(batch)

    def _is_traceable(self, batch: _Batch) -> bool:
        """Return whether torch.compile makes a graph of this batch: no shape depends on values, no process waits."""
        has_texts = self.texts is not None or self.text_term is not None
        by_values = self.memory is not None or has_texts or self.margin.reduction == "proxy"
        return not by_values and self.shard.group is None and self.plan(len(batch.embeddings)).tile is None

    def _compute_terms(self, batch: _Batch) -> list[Terms]:
        embeddings, active = batch.embeddings, batch.active
        with torch.autocast(embeddings.device.type, enabled=False):
            if self.training and self.memory is not None:
                self.memory.count_step()
            embeddings, norms = self.normalise(embeddings)
            if self.training:
                self._update_margin(embeddings, norms, active, batch.share)
            terms = self._compare(embeddings, norms, batch)
            if self.training and self.text_term is not None:
                terms = self.text_term.add_to(terms, batch.embeddings, active, self.progress)
            if self.training and self.memory is not None:
                self.memory.remember(embeddings, self.shard.places(active.labels[0]))
        return terms

    _eager_terms = outside_graphs(_compute_terms)

    def _update_margin(self, embeddings: Tensor, norms: Tensor, active: ActiveClasses, share: float | Tensor) -> None:
        """Update the margin's state, once for all labels of the samples."""
        with torch.no_grad():
            cosines = self.target_cosines(embeddings, active.labels, active.target_weights())
            cosine_y = cosines[0] if len(cosines) == 1 else share * cosines[0] + (1 - share) * cosines[1]
            log_sum_exp = None
            if "negatives" in self.margin.inputs:
                spec = LogitSpec(self.margin, [Context(cosine_y)], plain=True)
                scale = self._current_scale(cosine_y)
                log_sum_exp = self._negatives(spec, embeddings, active, scale).log_sum_exp[0]
            self.margin_state.update(Statistics(cosine_y, norms.detach(), log_sum_exp))

    def _compare(self, embeddings: Tensor, norms: Tensor, batch: _Batch) -> list[Terms]:
        """Return the terms for each label. (B, D) and (B,) as `normalise` returns them.

        All targets are left out of the reductions over the negatives; each is added by a term of its own.
        """
        active, draws, factor = batch.active, batch.draws, batch.factor
        labels, state = active.labels, self.margin_state
        known_labels = labels if active.host_labels is None else active.host_labels
        with torch.no_grad():
            cosines = self.target_cosines(embeddings, labels, active.target_weights())
            known = [detach_context(context) for context in state.contexts(cosines, norms, labels, draws, factor)]
        scale = state.scale(self._base_scale(), replace(known[0], norms=norms))
        spec = LogitSpec(
            self.margin,
            known if changes_negatives(self.margin) else known[:1],
            row_penalty=type(self.margin).row_penalty is not Margin.row_penalty,
        )
        negatives = self._negatives(spec, embeddings, active, scale)
        cosines = self.target_cosines(embeddings, labels, negatives.rows)
        contexts = state.contexts(cosines, norms, labels, draws, factor)
        logits = [target_logit(self.margin, context, scale, self.logit_bias) for context in contexts]
        terms = []
        for index, (context, logit) in enumerate(zip(contexts, logits, strict=True)):
            sums = add_target(negatives, index, logit)
            if len(labels) > 1:
                second, same = contexts[1 - index].cosine_y, labels[0] == labels[1]
                cosine = second.unsqueeze(1)
                second_logit = spec.logits(cosine, detach_context(context), scale, self.logit_bias).squeeze(1)
                sums = add_second_label(sums, second_logit, second, same)
            log_sum_exp, total, nearest = sums
            own_objective = objective(self.margin, negatives, logit, known_labels[index], active.count)
            reverse = None
            if self.texts is not None:
                reverse, own_objective = self.texts.directions(embeddings, active, scale, self.shard)
            cosine_y = context.cosine_y.detach()
            weights = self.loss_weights
            terms.append(
                Terms(
                    target_logit=logit,
                    log_sum_exp=log_sum_exp,
                    mean_logit=total / active.count,
                    cosine_y=cosine_y,
                    correct=cosine_y > nearest + self._rounding(cosine_y, nearest, batch.factor_rounding),
                    nearest=nearest,
                    objective=own_objective,
                    factor=self.margin.loss_factor(self._base_scale()),
                    weight=None if weights is None else weights.to(logit.dtype)[labels[index]],
                    penalty=penalty(self.margin, negatives, context),
                    text_to_image=reverse,
                )
            )
        return terms

    def _factor_rounding(self, device: torch.device) -> float:
        """Return by how much the large product may be off, relatively, where its factors are rounded."""
        if self.config.product == "bfloat16":  # both factors and the result
            return (1 + torch.finfo(torch.bfloat16).eps / 2) ** 3 - 1
        return (1 + TF32_EPS) ** 2 - 1 if rounds_products(device) else 0.0

    def _rounding(self, cosine_y: Tensor, nearest: Tensor, factor_rounding: float) -> Tensor:
        """Return by how much two equal cosines of D products may differ, (B,): the target's is computed by rows."""
        largest = torch.maximum(cosine_y.abs(), nearest.abs().nan_to_num(posinf=0.0))
        size = largest.new_ones(()) if self.margin.normalised else largest
        rounding = self.embedding_size * torch.finfo(cosine_y.dtype).eps * size
        return rounding + factor_rounding * size if factor_rounding else rounding

    def _negatives(self, spec: LogitSpec, embeddings: Tensor, active: ActiveClasses, scale: Tensor) -> NegativeTerms:
        """Return the reductions over the classes of all processes; their rows are of the classes in this one."""
        shard, plan = self.shard, self.plan(len(embeddings))
        rows = None if self.memory is None else self.memory.row_builder(active)
        spec = replace(spec, rows=rows, low_precision=self.config.product == "bfloat16")
        logit_bias = None if self.logit_bias is None else shard.into(self.logit_bias)
        inputs = LogitInputs(embeddings, active, active.select(self.bias), shard.into(scale), logit_bias)
        return reduce_negatives(spec, inputs, plan, shard)
