"""Training steps of a class head, by one process or by several; for test_shards.py to compare."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.modes import Sampled
from eml.head.sampling import draw_active_classes
from eml.head.shards import Shard
from eml.head.text_terms import TextTerm
from eml.head.text_weights import TextSettings, TextWeights
from eml.losses.contrastive_text import ContrastiveText
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from tests.head.heads import CLASSES, COUNTS, LABELS, LABELS_B, SETTINGS, SIZE
from tests.head.text_towers import tower

BATCH = 7  # 7 is shared unevenly by 2 and by 4 processes
LABELS, LABELS_B = (torch.cat([each, each[2:3]]) for each in (LABELS, LABELS_B))
PLAIN = {"type": "sgd", "momentum": 0.0}
EACH_SHARD = ("cosface", "sphereface2", "proxy_anchor")  # one of each reduction
MODES: list[dict[str, object]] = [
    {"type": "dense"},
    {"type": "tiled", "tile": 2, "memory": 0},
    {"type": "sampled", "fraction": 0.5, "optimizer": PLAIN},
    {"type": "sampled", "fraction": 0.5, "correction": True, "optimizer": PLAIN},
]

TEXT_CASES = {"batch": ("batch", None), "all": ("all", None), "sigmoids": ("batch", -3.0)}
"""Name → negatives and logit bias of steps with texts."""

Case = tuple[str, int, bool]
"""Name of a setting, number of a mode, mixup."""


def cases() -> Iterator[Case]:
    """Every setting in one of the exact modes, with mixup where it goes; some margins sampled."""
    for place, (name, (margin, config, _)) in enumerate(SETTINGS.items()):
        yield name, place % 2, False
        if margin.reduction == "softmax" and HeadConfig.model_validate(config).memory(margin) is None:
            yield name, (place + 1) % 2, True
        if name in ("arcface", "curricularface", "sphereface2", "proxy_anchor", "vpl"):
            yield from ((name, number, False) for number in (2, 3))


def few_cases() -> list[Case]:
    """Return every margin once, every mode of sampling, and one of each variant; the others are run by wide tests."""
    of_all = list(cases())
    variants = {name for name, _, _ in of_all if name.startswith("arcface-")}
    mixed = [next(case for case in of_all if case[2] and case[1] == number) for number in (0, 1)]
    return [case for case in of_all if not case[2] and (case[0] in Margin.members() or case[0] in variants)] + mixed


def steps_of(case: Case) -> int:
    """Ten for each margin by itself, two for its variants."""
    name, _, mixup = case
    return 10 if name in Margin.members() and not mixup else 2


def steps(case: Case, shard: Shard, most: int = 10) -> dict[str, Tensor]:
    """Losses, gradients by the embeddings and what the head is in the end, the same whoever holds its classes."""
    name, number, mixup = case
    margin, config, loss = SETTINGS[name]
    made = HeadConfig.model_validate({"scale": 8.0} | config | {"mode": MODES[number]})
    torch.manual_seed(0)
    head = ClassHead(margin, CLASSES, SIZE, made, counts=COUNTS, dtype=torch.float64, shard=shard)
    random, found = torch.Generator().manual_seed(5), {}
    part = part_of_batch(shard)
    for step in range(min(steps_of(case), most)):
        x = torch.randn(BATCH, SIZE, dtype=torch.float64, generator=random)[part].mul(3).requires_grad_()
        share = torch.rand(BATCH, dtype=torch.float64, generator=random)
        counts = counts_of(shard) if step % 2 else None  # told and asked
        if mixup:
            losses = loss.mixed(*head.mixed(x, LABELS[part], LABELS_B[part], share[part], counts=counts), share)
        else:
            losses = loss(head(x, LABELS[part], counts=counts))
        losses.mean().backward()
        assert x.grad is not None
        found |= {f"losses {step}": losses.detach(), f"gradient {step}": shard.gathered(x.grad)}
        move(head)
    of_classes = {"class_weights", "bias", "memory_queue", "memory_last"}
    for key, value in head.state_dict().items():
        found[key] = shard.merged(value) if key in of_classes else value
    return found


def counts_of(shard: Shard) -> list[int]:
    """How many images each process has: of 7, 4 and 3 or 2, 2, 2 and 1."""
    return [len(each) for each in torch.arange(BATCH).tensor_split(shard.world)]


def part_of_batch(shard: Shard) -> slice:
    """This process's images."""
    bounds = [0, *itertools.accumulate(counts_of(shard))]
    return slice(bounds[shard.rank], bounds[shard.rank + 1])


def embedded() -> Tensor:
    return torch.randn(BATCH, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 3


def of_each_shard(name: str, shard: Shard, *, correction: bool, classes: Tensor | None = None) -> dict[str, Tensor]:
    """The second of two steps with a sample of each process's classes, or with the given ones.

    own: which of them are here; gradient and by_weights, (C, D), are of all.
    """
    margin, config, _ = SETTINGS[name]
    mode = {"type": "sampled", "fraction": 0.5, "sample": "shard", "correction": correction, "optimizer": PLAIN}
    torch.manual_seed(0)
    made = HeadConfig.model_validate({"scale": 8.0} | config | {"mode": mode})
    head = ClassHead(margin, CLASSES, SIZE, made, counts=COUNTS, dtype=torch.float64, shard=shard)
    part = part_of_batch(shard)
    x, labels = embedded()[part].clone().requires_grad_(), LABELS[part]
    if classes is None:
        head(x, labels)
        head.forget_step()
    losses = CrossEntropy(label_smoothing=0.1 if margin.reduction == "softmax" else 0.0)(
        head(x, labels, classes=classes)
    )
    losses.mean().backward()
    assert head.sampled is not None
    sample, *_ = head.sampled.pending
    ids, rows = sample.ids, sample.weights
    assert x.grad is not None
    assert ids is not None
    by_weights = torch.zeros_like(head.class_weights).index_copy_(0, ids, rows.grad)
    return {
        "own": ids + shard.start,
        "losses": losses.detach(),
        "gradient": shard.gathered(x.grad),
        "by_weights": shard.merged(by_weights),
    }


def move(head: ClassHead, rate: float = 0.05) -> None:
    """A step of plain SGD."""
    head.step(rate)
    with torch.no_grad():
        for each in head.parameters():
            if isinstance(each, nn.Parameter) and each.grad is not None:
                each -= rate * each.grad
                each.grad = None


def golden() -> dict[str, Tensor]:
    """What Partial FC gave with two processes; its gradient by x is twice that of the mean loss."""
    with np.load(Path(__file__).parent.parent / "golden" / "partialfc_ws2_rate1.0.npz") as stored:
        return {key: torch.from_numpy(value) for key, value in stored.items() if key != "meta"}


def partial_fc(given: dict[str, Tensor], shard: Shard) -> dict[str, Tensor]:
    """Two steps of the golden run by our class head, each process with half of the batch."""
    mode = {"type": "sampled", "fraction": 1.0, "optimizer": {"type": "sgd", "momentum": 0.9}}
    config = HeadConfig.model_validate({"scale": 64.0, "mode": mode})
    own = shard.mine(given["W"]).clone()
    head = ClassHead(CosFace(m=0.4), 50, 32, config, class_weights=own, dtype=torch.float64, shard=shard)
    half, found = slice(shard.rank * 8, shard.rank * 8 + 8), {}
    for suffix, after in (("", "W_step1"), ("2", "W_step2")):
        x = given["x"][half].clone().requires_grad_()
        losses = CrossEntropy()(head(x, given["labels"][half]))
        found[f"loss{suffix}"] = losses.detach().clamp_max(-math.log(1e-30)).mean()
        losses.mean().backward()
        assert x.grad is not None
        found[f"grad_x{suffix}"] = shard.gathered(x.grad)
        found[f"grad_W{suffix}"] = shard.merged(head.sampled_rows()[0].grad)
        head.step(0.1, 5e-4)
        found[after] = shard.merged(head.class_weights)
    return found


def with_texts(shard: Shard, negatives: str, bias: float | None) -> dict[str, Tensor]:
    """Losses and gradients of a step whose class weights are embeddings of texts, each process embedding its own."""
    texts, settings = [[f"{label} {label}"] for label in range(CLASSES)], TextSettings(negatives=negatives)  # type: ignore[arg-type]
    own, part = tower(SIZE, bias=bias), part_of_batch(shard)
    margin = CosFace(m=0.1) if bias is None else NormFace()
    head = ClassHead(margin, CLASSES, SIZE, dtype=torch.float64, shard=shard, texts=TextWeights(own, texts, settings))
    x, labels = embedded()[part].clone().requires_grad_(), LABELS[part]
    losses = ContrastiveText()(head(x, labels))
    losses.mean().backward()
    assert x.grad is not None
    sums = {}
    for name, weight in own.named_parameters():
        assert weight.grad is not None, name  # in every process, or some would not move by the sum
        sums[name] = shard.total(weight.grad)
    return {"losses": losses.detach(), "gradient": shard.gathered(x.grad)} | sums


def with_text_term(name: str, shard: Shard) -> dict[str, Tensor]:
    """Two steps with a term of class texts; the rows of the texts are drawn by class."""
    margin, settings, _ = SETTINGS["arcface-3-centers" if name == "anchor" else "arcface"]
    config = HeadConfig.model_validate({"scale": 8.0} | settings)
    term = TextTerm.members()[name].model_validate({"type": name, "weight": 0.7, "decay": 0})
    torch.manual_seed(0)
    head = ClassHead(margin, CLASSES, SIZE, config, counts=COUNTS, dtype=torch.float64, shard=shard, text=term)
    rows = torch.randn(CLASSES, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert head.text_term is not None
    head.text_term.set(nn.functional.normalize(rows))
    part, found = part_of_batch(shard), {}
    for step in range(2):
        x = embedded()[part].clone().requires_grad_()
        losses = CrossEntropy()(head(x, LABELS[part]))
        losses.mean().backward()
        assert x.grad is not None
        found |= {f"losses {step}": losses.detach(), f"gradient {step}": shard.gathered(x.grad)}
        move(head)
    return found | {key: shard.merged(head.state_dict()[key]) for key in ("class_weights", "text_rows")}


def needed(shard: Shard) -> dict[str, Tensor]:
    """Bytes that a sampled head of ten classes says it needs, by part."""
    mode = {"type": "sampled", "fraction": 0.4, "optimizer": {"type": "sgd"}}
    head = ClassHead(CosFace(), 10, SIZE, HeadConfig.model_validate({"mode": mode}), shard=shard)
    return {name: torch.tensor(size) for name, size in head.memory_needed(4).items()}


def process(rank: int, world: int, folder: Path, these: list[Case], most: int) -> None:
    """One of the processes: the cases one after the other; it leaves what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world)
    shard = Shard.of_group(CLASSES)
    found = {case: steps(case, shard, most) for case in these}
    for name in EACH_SHARD:
        found[name, -1, False] = of_each_shard(name, shard, correction=False)
    for key, case in TEXT_CASES.items():
        found[key, 0, False] = with_texts(shard, *case)
    found["cosface", -1, True] = of_each_shard("cosface", shard, correction=True)
    for name in TextTerm.members():
        found[name, -2, False] = with_text_term(name, shard)
    hundred, mode = Shard.of_group(100), Sampled(fraction=0.5, sample="shard")
    weights = torch.zeros(len(hundred), SIZE, dtype=torch.float64)
    drawn = draw_active_classes(mode, hundred, weights, [torch.empty(0, dtype=torch.int64)], 3, None)
    found["drawn", 0, False] = {"places": drawn.ids}
    if world == 2:
        found["golden", 0, False] = partial_fc(golden(), Shard.of_group(50))
        found["needed", 0, False] = needed(Shard.of_group(10))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
