"""Whether a refactoring left every number as it was, to the bit: facts recorded before and after it, compared.

    python tests/benchmarks/same_numbers.py record OUT.json [--work FOLDER] [--only SECTION …]
    python tests/benchmarks/same_numbers.py compare OLD.json NEW.json [--renames renames.json]

`record` takes the facts of the `eml` that can be imported (PYTHONPATH decides which), about 4 minutes on one core:
losses and states of every margin in every mode of the class head, the gradients at the golden inputs, the tables of the
data commands, training runs and evaluations. `compare` prints what differs and exits with 1 if anything does. Both
recordings are to come from one machine and one set of packages: another processor or torch rounds otherwise.

Facts are `path → value`. renames.json maps old names to new ones: a part of a path (between slashes) or a whole value.
A key with slashes renames only where these parts follow one another; null as the new name drops the old facts.
Sentences are recorded as the numbers in them, so that they may be worded anew. Names of tensors in the head and in a
run's state may change freely: their hashes are sorted.

The first part of this file, "Access to eml", is all that knows where things are in eml. Adjust it when they move.
"""

import argparse
import csv
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

Settings = dict[str, Any]

# ---------------------------------------------------------------------------------------------------------------------
# Access to eml: newer places first, then older ones.


def found(*places: str) -> Any:
    """Imports the first of these `module:name` that is there."""
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"none of {', '.join(places)} is there; adjust {Path(__file__).name}")


def margin_family() -> Any:
    """Gives the base class of the margins, whose `members()` are all of them."""
    return found("eml.margins:Margin", "eml.margins.base:Margin")


def loss_family() -> Any:
    """Gives the base class of the losses."""
    return found("eml.losses:Loss", "eml.losses.base:Loss")


def member(family: Any, settings: Settings) -> Any:
    """Makes the margin or loss that `type` names."""
    return family.members()[settings["type"]].model_validate(settings)


def random_mix() -> str:
    """Gives the name of the mix that is mixup or CutMix, batch by batch."""
    family = found("eml.images.mixes:Mix", "eml.data.mixes:Mix", "eml.mixes:Mix")
    return "mixup_or_cutmix" if "mixup_or_cutmix" in family.members() else "either"


def margin_fields(name: str) -> set[str]:
    """Gives the names of a margin's settings."""
    return set(margin_family().members()[name].model_fields)


def new_head(
    margin: Any, classes: int, size: int, config: Settings, counts: list[int] | None, dtype: torch.dtype
) -> Any:
    """Makes a class head. counts: images per class."""
    head = found("eml.head.class_head:ClassHead", "eml.models.head:ClassHead")
    config_class = found("eml.head.config:HeadConfig", "eml.models.config:HeadConfig")
    return head(margin, classes, size, config_class.model_validate(config), counts=counts, dtype=dtype)


def terms_of(head: Any, x: Tensor, labels: Tensor, draws: Tensor | None = None, classes: Tensor | None = None) -> Any:
    """Asks the head for the per-sample terms. draws, classes: to take instead of random ones."""
    return head(x, labels, draws=draws, classes=classes)


def mixed_terms_of(head: Any, x: Tensor, labels: Tensor, labels_b: Tensor, share: Any) -> tuple[Any, Any]:
    """Asks the head for the terms of both labels of mixed samples."""
    first, second = head.mixed(x, labels, labels_b, share)
    return first, second


def logits_of(head: Any, x: Tensor, labels: Tensor, draws: Tensor | None = None) -> Tensor:
    """Asks the head for all logits (B, C)."""
    logits: Tensor = head.logits(x, labels, draws=draws)
    return logits


def step_sampled_rows(head: Any, rate: float, decay: float) -> None:
    """Lets the head update the class weights itself, which it does in mode sampled."""
    head.step(rate, decay)


def sampled_rows(head: Any) -> list[Tensor]:
    """Gives the sampled rows of the class weights, with their gradients."""
    rows: list[Tensor] = head.sampled_rows()
    return rows


def set_progress(head: Any, progress: float) -> None:
    """Tells the head how far the training is, in [0, 1]."""
    head.progress = progress


def state_of(head: Any, kind: str = "margin") -> dict[str, Tensor]:
    """Gives the buffers of the margin's state, or of its memory; writing into them changes the head."""
    state: dict[str, Tensor] = head.state(kind)
    return state


def parameter(head: Any, name: str) -> Any:
    """Gives class_weights, bias or logit_bias; None where the head has none."""
    return getattr(head, name)


def refusals() -> tuple[type[Exception], ...]:
    """Gives the exceptions by which a combination of settings is refused."""
    return (found("eml.errors:ConfigError"), ValueError)


EML = (sys.executable, "-m", "eml")
STOPPED_EML = """
import runpy, signal, sys
from torch.optim.optimizer import register_optimizer_step_post_hook

steps_left = int(sys.argv.pop(1))


def count(*ignored):
    global steps_left
    steps_left -= 1
    if steps_left == 0:
        signal.raise_signal(signal.SIGTERM)


register_optimizer_step_post_hook(count)
runpy.run_module("eml", run_name="__main__", alter_sys=True)
"""
"""Runs eml and sends SIGTERM after so many steps of the optimizer."""

# ---------------------------------------------------------------------------------------------------------------------
# Facts.

VOLATILE = re.compile(
    r"(^|_)(seconds|time|timings|created|date|versions?|machine|command|git_commit|digest|replaces|earlier|elapsed)(_|$)"
)
"""Keys of JSON whose values change from run to run, or with the wording of a table."""
NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")
FEW = 50  # distinct values of a column, below which they are recorded one by one


@dataclass
class Facts:
    """Values by path; `folder` is left out of all of them."""

    folder: Path
    values: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, value: object) -> None:
        """Records one value, or all that a dict or list holds."""
        match value:
            case dict():
                for key, item in value.items():
                    if not VOLATILE.search(str(key)):
                        self.add(f"{path}/{str(key).replace(str(self.folder), 'WORK')}", item)
                if not value:
                    self._add(path, "{}")
            case list() | tuple():
                if all(isinstance(item, int | float) for item in value):
                    self._add(path, "[" + " ".join(map(repr, value)) + "]")
                else:
                    for index, item in enumerate(value):
                        self.add(f"{path}/{index}", item)
            case str():
                self._add(path, self._shortened(value))
            case _:
                self._add(path, repr(value))

    def _add(self, path: str, value: str) -> None:
        if path in self.values:
            raise ValueError(f"{path} is recorded twice")
        self.values[path] = value

    def _shortened(self, text: str) -> str:
        """Gives a name as it is and a sentence as the numbers in it."""
        text = text.replace(str(self.folder), "WORK")
        return "sentence: " + " ".join(NUMBER.findall(text)) if any(map(str.isspace, text)) else text


def digest(*parts: str | bytes) -> str:
    """Hashes texts and bytes."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode() if isinstance(part, str) else part)
        sha.update(b"\0")
    return sha.hexdigest()[:24]


def tensor_digest(tensor: Tensor) -> str:
    """Hashes dtype, shape and bytes of a tensor."""
    plain = tensor.detach().cpu().contiguous()
    return digest(str(plain.dtype), str(tuple(plain.shape)), plain.reshape(-1).view(torch.uint8).numpy().tobytes())


def sorted_digests(tensors: Iterable[Tensor]) -> str:
    """Hashes each tensor; in order of the hashes, so that names do not matter."""
    return " ".join(sorted(tensor_digest(tensor)[:16] for tensor in tensors))


def tensors_within(value: object) -> Iterator[Tensor]:
    """Finds all tensors in dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_within(item)


# ---------------------------------------------------------------------------------------------------------------------
# Margins: 20 steps of optimisation of each, in each mode of the head.

CLASSES, SIZE, BATCH, STEPS = 60, 32, 16, 20
COUNTS = [1 + 7 * index % 23 for index in range(CLASSES)]
MODES: dict[str, Settings] = {
    "dense": {"type": "dense"},
    "tiled": {"type": "tiled", "tile": 17},
    "tiled-computed-again": {"type": "tiled", "tile": 17, "memory": 0},
    "sampled": {"type": "sampled", "fraction": 0.4},
    "sampled-decayed-sgd": {
        "type": "sampled",
        "fraction": 0.4,
        "unsampled": "decayed",
        "correction": True,
        "optimizer": {"type": "sgd"},
    },
    "sampled-frozen-sgd": {
        "type": "sampled",
        "fraction": 0.4,
        "sample": "shard",
        "optimizer": {"type": "sgd", "momentum": 0.0},
    },
}
USUAL_MODES = ("dense", "tiled", "sampled")
THOROUGH = ("plain", "mixed-smoothed", "3-centers")  # variants that are tried in all modes


@dataclass(frozen=True)
class Variant:
    """Changes settings of head, loss and margin. mixed: two labels. only: the margins that it is for, else all."""

    head: Settings = field(default_factory=dict)
    loss: Settings = field(default_factory=lambda: {"type": "cross_entropy"})
    margin: Settings = field(default_factory=dict)
    mixed: bool = False
    only: tuple[str, ...] = ()


SMOOTHED: Settings = {"type": "cross_entropy", "label_smoothing": 0.1}
VARIANTS: dict[str, Variant] = {
    "plain": Variant(),
    "smoothed": Variant(loss=SMOOTHED),
    "mixed": Variant(mixed=True),
    "mixed-smoothed": Variant(mixed=True, loss=SMOOTHED, head={"scale": "auto"}),
    "3-centers": Variant(head={"centers": 3}),
    "by-class": Variant(head={"class_margins": {"type": "power"}, "loss_weight_power": 0.5}),
    "scheduled": Variant(head={"margin_schedule": {"shape": "cosine", "start": 0.2, "until": 0.5}, "scale": 8.0}),
    "prototypes": Variant(head={"prototypes": {"start": 3, "window": 5}}),
    "learned-scale": Variant(head={"scale": "learned"}, loss={"type": "focal"}),
    "bfloat16": Variant(head={"product": "bfloat16", "scale": 12}),
    "min-max": Variant(head={"class_margins": {"type": "min_max"}}, only=("arcface",)),
    "log-schedule": Variant(head={"margin_schedule": {"shape": "log"}}, only=("cosface", "arcface")),
    "past-pi-linear": Variant(margin={"past_pi": "linear"}, only=("arcface", "subcenter_arcface", "vpl")),
    "past-pi-easy": Variant(margin={"past_pi": "easy"}, only=("arcface", "elastic_arcface")),
    "past-pi-none": Variant(margin={"past_pi": "none"}, only=("arcface", "combined")),
    "detached": Variant(margin={"gradient": "detached"}, only=("arcface", "sphereface", "sphereface_r", "vpl")),
    "plus": Variant(margin={"plus": True}, only=("elastic_arcface", "elastic_cosface")),
    "v2": Variant(margin={"variant": "v2"}, only=("sphereface_r",)),
    "remembering": Variant(margin={"memory": {"start": 2, "window": 6, "share": 0.3}}, only=("vpl",)),
    "large-m": Variant(margin={"m": 1.2}, only=("arcface", "li_arcface", "curricularface", "magface")),
}


def record_margins(facts: Facts) -> None:
    """Records the losses and final tensors of all margins, variants and modes."""
    for margin in sorted(margin_family().members()):
        for name, variant in VARIANTS.items():
            if variant.only and margin not in variant.only:
                continue
            for mode in MODES if name in THOROUGH else USUAL_MODES:
                path = f"margins/{margin}/{name}/{mode}"
                try:
                    trained = optimised(margin, variant, MODES[mode])
                except refusals():
                    facts.add(path, "refused")
                except Exception as error:
                    facts.add(path, f"crashed:{type(error).__name__}")
                else:
                    for key, value in trained.items():
                        facts.values[f"{path}/{key}"] = value


def optimised(margin: str, variant: Variant, mode: Settings) -> dict[str, str]:
    """Takes 20 steps of a linear layer under a class head; gives losses and hashes."""
    torch.manual_seed(3)
    built = member(margin_family(), {"type": margin} | variant.margin)
    head = new_head(built, CLASSES, SIZE, variant.head | {"mode": mode}, COUNTS, torch.float32)
    loss, random = member(loss_family(), variant.loss), torch.Generator().manual_seed(4)
    layer = torch.nn.Parameter(4 * torch.eye(SIZE))
    trained = [weight for weight in head.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW([layer, *trained], lr=0.02, weight_decay=0.01)
    values, seen = [], []
    for step in range(STEPS):
        set_progress(head, step / (STEPS - 1))
        x = torch.randn(BATCH, SIZE, generator=random) @ layer
        losses, terms = losses_of(head, loss, x, random, mixed=variant.mixed)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        step_sampled_rows(head, 0.02, 0.01)
        values.append(float(losses.mean().detach()).hex())
        seen.append(" ".join(sorted(map(tensor_digest, [losses, *terms]))))
    state = [*head.state_dict().values(), *head.buffers()]
    return {
        "losses": " ".join(values),
        "terms": digest(*seen),
        "state": sorted_digests(state),
        "layer": tensor_digest(layer),
        "eval": evaluated(head, loss, layer, random),
    }


def losses_of(head: Any, loss: Any, x: Tensor, random: torch.Generator, *, mixed: bool) -> tuple[Tensor, list[Tensor]]:
    """Gives the losses of a random batch and all tensors among the terms."""
    labels, labels_b = torch.randint(CLASSES, (2, len(x)), generator=random)
    labels_b[:2] = labels[:2]
    share = torch.rand(len(x), generator=random)
    if mixed:
        both = mixed_terms_of(head, x, labels, labels_b, share)
        return loss.mixed(*both, share), [*tensors_of(both[0]), *tensors_of(both[1])]
    terms = terms_of(head, x, labels)
    return loss(terms), tensors_of(terms)


def tensors_of(terms: Any) -> list[Tensor]:
    """Gives the tensors among the fields of a dataclass."""
    values = (getattr(terms, entry.name) for entry in fields(terms))
    return [value for value in values if isinstance(value, Tensor)]


def evaluated(head: Any, loss: Any, layer: Tensor, random: torch.Generator) -> str:
    """Hashes what the head gives outside training."""
    head.eval()
    with torch.no_grad():
        x = torch.randn(BATCH, SIZE, generator=random) @ layer
        losses, terms = losses_of(head, loss, x, random, mixed=False)
        logits = logits_of(head, x, torch.arange(BATCH))
    return digest(*sorted(map(tensor_digest, [losses, *terms, logits])))


# ---------------------------------------------------------------------------------------------------------------------
# Goldens: what ours gives in float64 at the inputs of tests/golden.


@dataclass(frozen=True)
class Golden:
    """The setup of eml's margin for a golden file."""

    margin: Settings
    scale: float = 64
    loss: Settings = field(default_factory=lambda: {"type": "cross_entropy"})
    config: Settings = field(default_factory=dict)


PARTIAL: Settings = {"type": "sampled", "fraction": 0.5, "unsampled": "decayed", "optimizer": {"type": "sgd"}}
GOLDENS: dict[str, Golden] = {
    "adacos": Golden({"type": "adacos"}),
    "adaface": Golden({"type": "adaface"}),
    "arcface_thmm": Golden({"type": "arcface", "past_pi": "linear"}),
    "arcface_easy": Golden({"type": "arcface", "past_pi": "easy"}, 30),
    "arcface_detached": Golden({"type": "arcface", "past_pi": "none", "gradient": "detached"}),
    "arcface_thmm_ls01": Golden({"type": "arcface", "past_pi": "linear"}, loss=SMOOTHED),
    "arcface_thmm_mixup": Golden({"type": "arcface", "past_pi": "linear"}),
    "arcface_dynamic_paper": Golden(
        {"type": "arcface", "past_pi": "linear"}, 80, config={"class_margins": {"type": "power", "a": 0.5, "b": 0.05}}
    ),
    "combined_mxnet_all3": Golden({"type": "combined", "m1": 0.9, "m2": 0.4, "m3": 0.15, "past_pi": "none"}),
    "combined_mxnet_paper": Golden({"type": "combined", "m1": 1, "m2": 0.3, "m3": 0.2, "past_pi": "none"}),
    "cosface": Golden({"type": "cosface", "m": 0.35}),
    "curricularface": Golden({"type": "curricularface"}),
    "elastic_arc": Golden({"type": "elastic_arcface", "m": 0.5, "sigma": 0.05, "past_pi": "none"}),
    "elastic_arc_plus": Golden({"type": "elastic_arcface", "m": 0.5, "sigma": 0.0175, "plus": True, "past_pi": "none"}),
    "elastic_cos": Golden({"type": "elastic_cosface", "m": 0.35, "sigma": 0.05}),
    "magface": Golden({"type": "magface", "lambda_g": 35}),
    "normface": Golden({"type": "normface"}),
    "partialfc_ws1_rate0.5": Golden({"type": "cosface", "m": 0.4}, config={"mode": PARTIAL}),
    "softmax": Golden({"type": "softmax"}, 1),
    "sphereface_final": Golden({"type": "sphereface", "m": 4}),
    "sphereface_opensphere": Golden(
        {"type": "sphereface", "m": 1.7, "feature_norm": False, "annealing": False, "gradient": "detached"}, 30
    ),
    "subcenter_mxnet_arc": Golden({"type": "subcenter_arcface", "past_pi": "none", "centers": 3}),
    "uniface_uce": Golden({"type": "uniface", "m": 0.4}),
    "vpl_arcface": Golden(
        {"type": "vpl", "m": 0.5, "past_pi": "none", "memory": {"share": 0.15, "window": 2, "start": 2}}
    ),
}


def golden_folder() -> Path:
    """Finds the golden files beside this script, or in the checkout of the eml that is recorded."""
    roots = [Path(__file__).resolve().parents[1], Path(import_module("eml").__file__ or "").parents[1] / "tests"]
    for root in roots:
        for file in sorted(root.rglob("arcface_thmm.npz")):
            return file.parent
    raise FileNotFoundError(f"no golden files below {' or '.join(map(str, roots))}")


def record_goldens(facts: Facts) -> None:
    """Records losses, logits and gradients at every golden input, in every mode that gives the exact result."""
    folder = golden_folder()
    for name, golden in GOLDENS.items():
        with np.load(folder / f"{name}.npz") as stored:
            arrays = {key: torch.from_numpy(stored[key]) for key in stored if key != "meta"}
        for mode in ("given",) if "mode" in golden.config else ("dense", "tiled"):
            facts.add(f"goldens/{name}/{mode}", golden_results(name, golden, arrays, mode))


def golden_head(name: str, golden: Golden, arrays: dict[str, Tensor], mode: str) -> Any:
    """Makes the head with the golden class weights, bias and state."""
    counts = arrays["counts"].tolist() if "counts" in arrays else None
    config = {"scale": golden.scale} | ({} if mode == "given" else {"mode": MODES[mode]}) | golden.config
    torch.manual_seed(0)
    head = new_head(member(margin_family(), golden.margin), 50, 32, config, counts, torch.float64)
    parameter(head, "class_weights").data = arrays["W"].clone()
    if parameter(head, "bias") is not None:
        parameter(head, "bias").data = arrays["bias"].clone()
    if golden.margin["type"] == "sphereface" and state_of(head):
        for buffer in state_of(head).values():
            buffer.fill_(10**7)
    if "state_init" in arrays:  # mean before std, as in the reference; one number in the other files
        for buffer, value in zip(state_of(head).values(), arrays["state_init"], strict=True):
            buffer.fill_(value.item())
    if "queue_init" in arrays:
        next(buffer for buffer in state_of(head, "memory").values() if buffer.ndim == 2).copy_(arrays["queue_init"])
    return head


def golden_results(name: str, golden: Golden, arrays: dict[str, Tensor], mode: str) -> dict[str, str]:
    """Gives losses as hex and hashes of gradients and logits, a word for each step of the file."""
    head, loss = golden_head(name, golden, arrays, mode), member(loss_family(), golden.loss)
    xs, labels = arrays["x"], arrays["labels"]
    xs, labels = (xs, labels) if xs.ndim == 3 else (xs[None], labels[None])
    steps = 2 if name.startswith("partialfc") else len(xs)
    draws = None
    if "margins_drawn" in arrays:
        draws = (arrays["margins_drawn"] - golden.margin["m"]) / golden.margin["sigma"]
    found_values: dict[str, list[str]] = {"losses": [], "gradients": [], "logits": []}
    for step in range(steps):
        x, own = xs[step % len(xs)].clone().requires_grad_(), labels[step % len(xs)]
        head.zero_grad()
        if "labels_b" in arrays:
            losses = loss.mixed(*mixed_terms_of(head, x, own, arrays["labels_b"], 0.3), 0.3)
        else:
            classes = arrays["weight_index" + ("2" if step else "")] if steps == 2 else None
            losses = loss(terms_of(head, x, own, draws, classes))
        losses.mean().backward()
        gradients = [x.grad, *(weight.grad for weight in (*head.parameters(), *sampled_rows(head)))]
        found_values["losses"].append(float(losses.mean().detach()).hex())
        found_values["gradients"].append(
            digest(sorted_digests(gradient for gradient in gradients if gradient is not None))
        )
        found_values["logits"].append(tensor_digest(logits_of(head, x, own, draws)))
        step_sampled_rows(head, 0.1, 5e-4)
    return {key: ",".join(words) for key, words in found_values.items()} | {"state": golden_state(head)}


def golden_state(head: Any) -> str:
    """Hashes all that the head keeps, in one word."""
    return digest(sorted_digests(head.state_dict().values()))


# ---------------------------------------------------------------------------------------------------------------------
# The command line.


@dataclass
class Workshop:
    """A folder that commands run in, with the data beside it: `data` is unpacked once, `runs` made anew."""

    data: Path
    runs: Path
    source: Path
    facts: Facts

    def eml(self, name: str, *arguments: object, program: tuple[str, ...] = EML) -> None:
        """Runs a command with --json and records its exit code and what it prints on stdout."""
        done = subprocess.run(
            [*program, *map(str, arguments)],
            cwd=self.runs,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        self.facts.add(f"{name}/exit_code", done.returncode)
        if done.returncode not in (0, 130):  # 130: stopped with the state saved, as one run is meant to be
            print(f"{name}: exit code {done.returncode}: {done.stderr[-400:]}", file=sys.stderr)
        if done.stdout.strip():
            self.facts.add(f"{name}/json", json.loads(done.stdout))

    def unpacked(self, name: str) -> Path:
        """Gives a data set, linked into the folder of runs, so that commands find no files of an earlier recording."""
        kept = self.data / name
        if not (kept / ".whole").exists():
            shutil.rmtree(kept, ignore_errors=True)
            with tarfile.open(self.source / f"{name}.tar") as archive:
                archive.extractall(self.data, filter="data")
            (kept / ".whole").touch()
        if not (self.runs / name).exists():
            shutil.copytree(kept, self.runs / name, copy_function=os.link, ignore=shutil.ignore_patterns(".whole"))
        return self.runs / name

    def add_tables(self, name: str, folder: Path) -> None:
        """Records all CSV files of a folder, and what stands in the files beside them."""
        for file in sorted(folder.rglob("*.csv")):
            path = f"{name}/{file.relative_to(folder)}"
            self.facts.add(path, columns_of(file))
            beside = file.with_name(f"{file.name}.eml.json")
            if beside.exists():
                self.facts.add(f"{path}/sidecar", json.loads(beside.read_text(encoding="utf-8")))


def environment() -> dict[str, str]:
    """Gives the environment of commands: this one, with one thread, and with the eml that is recorded."""
    path = str(Path(import_module("eml").__file__ or "").parents[1])
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "300", "PYTHONPATH": path}


def columns_of(file: Path) -> dict[str, Any]:
    """Gives the place of each column and a hash of its values; of few distinct values, how often each is there."""
    with file.open(encoding="utf-8", newline="") as text:
        header, *rows = list(csv.reader(text))
    columns: dict[str, Any] = {"rows": len(rows)}
    for place, name in enumerate(header):
        values = [row[place] for row in rows]
        counts = Counter(values)
        columns[f"column/{name}"] = {"place": place}
        if len(counts) < FEW:
            order = {value: index for index, value in enumerate(counts)}  # of first appearance
            columns[f"column/{name}"]["pattern"] = digest(*(str(order[value]) for value in values))
            for value, count in counts.items():
                words = f"sentence-{order[value]}:{'_'.join(NUMBER.findall(value))}" if " " in value else value
                columns[f"column/{name}"][f"value/{words or '(empty)'}"] = count
        else:
            columns[f"column/{name}"]["text"] = digest(*values)
    return columns


def write_rows(file: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a CSV file."""
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)


def official_rows(shop: Workshop) -> list[dict[str, str]]:
    """Reads the list of grocery images that comes with them, sorted by class."""
    with (shop.unpacked("grocery160") / "official_split.csv").open(encoding="utf-8", newline="") as text:
        return sorted(csv.DictReader(text), key=lambda row: (row["fine"], row["path"]))


# ---------------------------------------------------------------------------------------------------------------------
# Tables: the commands that read and write them.


def record_tables(shop: Workshop) -> None:
    """Records what the data commands write and print."""
    for name in ("grocery160", "dirty", "emoji"):
        shop.unpacked(name)
    (shop.runs / "tables").mkdir()
    images = Path("grocery160/images")
    shop.eml("tables/scan", "scan", images, "--json")
    made_tables(shop, images)
    commands: dict[str, str] = {
        "filter": f"filter {images} --dedup --scope dataset --min-per-class 36",
        "filter-hash": f"filter {images}/dataset_info.csv --dedup --hash-only --keep last --threshold 12 "
        "--out tables/hash",
        "filter-size": f"filter {images}/dataset_info.csv --min-size 130 --max-size 160 --out tables/size",
        "split": f"split {images} --by ratio --query-gallery",
        "split-counts": f"split {images} --by counts --min-n-samples 40 --max-n-samples 70 --out tables/counts",
        "split-alternate": f"split {images} --by alternate --query-gallery --query-share 0.3 --out tables/alternate",
        "split-column": f"split tables/side.csv side --by column --root {images} --out tables/column",
        "split-group": f"split tables/side.csv --by ratio --group-by camera --root {images} --out tables/group",
        "kfold": f"kfold {images}",
        "kfold-class": f"kfold {images} --by class --k 4 --no-near --out tables/by_class",
        "kfold-group": f"kfold tables/side.csv --group-by camera --k 3 --root {images} --out tables/by_group",
        "audit": f"audit {images}",
        "audit-pair": f"audit tables/train.csv tables/test.csv --root {images} --test-root {images} --group-by camera "
        "--threshold 12 --out tables/pairs.csv",
        "dirty-scan": "scan dirty",
        "dirty-exact": "scan dirty --hash-exact --out tables/exact.csv",
        "dirty-filter": "filter dirty --dedup --scope dataset --min-size 20",
        "emoji-scan": "scan emoji/images",
        "emoji-filter": "filter emoji/images --dedup --scope dataset",
        "emoji-keep": "filter emoji/images/dataset_info.csv --dedup --scope dataset --conflicts keep --keep most-bytes "
        "--out tables/keep",
        "emoji-split": "split emoji/images",
        "merge": f"merge food={images}/dataset_train.csv signs=emoji/images/dataset_info_filtered.csv "
        "--out tables/merged",
    }
    for name, command in commands.items():
        shop.eml(f"tables/{name}", *command.split(), "--json")
    for name in ("tables", "grocery160/images", "dirty", "emoji/images"):
        shop.add_tables(f"tables/of/{name}", shop.runs / name)


def made_tables(shop: Workshop, images: Path) -> None:
    """Writes tables/side.csv, the scanned table with columns side and camera, and train.csv and test.csv of it."""
    with (shop.runs / images / "dataset_info.csv").open(encoding="utf-8", newline="") as text:
        header, *rows = list(csv.reader(text))
    name = header.index("file_name")
    sides = {row["path"].removeprefix("images/"): row["split"] for row in official_rows(shop)}
    classes = sorted({row[name].split("/")[0] for row in rows})
    for index, row in enumerate(rows):
        row += ["test" if classes.index(row[name].split("/")[0]) % 3 == 0 else "train", f"c{index // 11}"]
    header += ["side", "camera"]
    write_rows(shop.runs / "tables" / "side.csv", header, rows)
    for side in ("train", "test"):
        part = [row for row in rows if sides[row[name]] == side]
        write_rows(shop.runs / "tables" / f"{side}.csv", header, part)


# ---------------------------------------------------------------------------------------------------------------------
# Runs: training, evaluation, calibration, suspects.

SMALL: Settings = {
    "recipe": "none",
    "data": {"table": "grocery160/small.csv", "fold": 0, "workers": 0},
    "image": {"size": 32},
    "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16}},
    "head": {"scale": 16},
    "precision": "float32",
    "epochs": 2,
    "batch_size": 16,
    "device": "cpu",
    "seed": 7,
}
RUNS: dict[str, Settings] = {
    "whole": {"margin": {"type": "arcface", "m": 0.3}, "mix": {"type": "mixup"}, "ema": {"decay": 0.9}},
    "sampled": {
        "margin": {"type": "elastic_cosface"},
        "head": {"scale": 16, "mode": {"type": "sampled", "fraction": 0.6}},
        "mix": {"type": random_mix()},
        "sampler": {"type": "balanced"},
        "augment": {"type": "randaugment"},
        "optimizer": {"clip": 5.0, "layer_decay": 0.8, "lr": {"backbone": 1e-3}},
    },
    "tiled": {
        "margin": {"type": "subcenter_arcface", "m": 0.2},
        "head": {
            "scale": "learned",
            "mode": {"type": "tiled", "tile": 3},
            "margin_schedule": {"shape": "linear", "start": 0.1},
            "class_margins": {"type": "power"},
        },
        "loss": {"type": "cross_entropy", "label_smoothing": 0.05},
        "accumulate": 2,
        "augment": {"type": "strong"},
        "sampler": {"type": "per_class", "per_class": 4},
        "schedule": {"shape": "steps", "warmup_epochs": 1},
        "data": {"table": "grocery160/small.csv", "fold": 0, "workers": 1, "cache": {"format": "raw"}},
        "model": SMALL["model"] | {"pooling": "gem", "freeze": 1, "batch_norm": "frozen", "neck": {"type": "bnneck"}},
        "validation": {"tables": {"other": "grocery160/other.csv"}},
    },
    "folds": {"margin": {"type": "adaface"}, "optimizer": {"name": "sgd", "lr": {"backbone": 0.01}}, "epochs": 1},
}
WEIGHTS = "mobilenetv2_100.imagenet.fp16.safetensors"


def record_runs(shop: Workshop) -> None:
    """Records trainings, and what evaluate, calibrate and suspects say of them."""
    small_tables(shop)
    for name, settings in RUNS.items():
        config = SMALL | settings | {"output": name}
        (shop.runs / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shop.eml("runs/whole", "train", "whole.yaml", "--json")
    stopped = (*EML[:1], "-c", STOPPED_EML, "6")
    shop.eml("runs/stopped/first", "train", "whole.yaml", "--set", "output=stopped", "--json", program=stopped)
    shop.facts.add("runs/stopped/at", saved_step(shop.runs / "stopped"))
    shop.eml("runs/stopped/second", "train", "stopped/config.yaml", "--resume", "--json")
    shop.eml("runs/sampled", "train", "sampled.yaml", "--json")
    shop.eml("runs/tiled", "train", "tiled.yaml", "--json")
    shop.eml("runs/folds", "train", "folds.yaml", "--fold", "all", "--json")
    shop.eml(
        "runs/two", "train", "sampled.yaml", "--devices", "2", "--set", "output=two", "--set", "epochs=1", "--json"
    )
    for name in ("whole", "stopped", "sampled", "tiled", "folds", "two"):
        add_run(shop.facts, f"runs/{name}", shop.runs / name)
    initial_config(shop)
    record_evaluations(shop)


def small_tables(shop: Workshop) -> None:
    """Writes small.csv (8 classes of 12 images) and other.csv (16 others), and noisy.csv with wrong labels."""
    by_class: dict[str, list[dict[str, str]]] = {}
    for row in official_rows(shop):
        by_class.setdefault(row["fine"], []).append(row)
    names = list(by_class)
    chosen = {"small": (names[:32:4], 12), "other": (names[1:80:5], 12), "noisy": (names[2:60:5], 24)}
    for table, (classes, count) in chosen.items():
        rows = []
        for number, label in enumerate(classes):
            for index, row in enumerate(by_class[label][:count]):
                wrong = table == "noisy" and index % 9 == 4
                said = classes[(number + 1) % len(classes)] if wrong else label
                rows.append([said, row["path"], row["coarse"], f"c{index % 4}", index % 3])
        file = shop.runs / "grocery160" / f"{table}.csv"
        write_rows(file, ["label", "file_name", "coarse", "camera", "fold"], rows)


def saved_step(run: Path) -> int:
    """Gives the step that a stopped run goes on from."""
    file = run / "state.pt"
    if not file.exists():
        return -1
    state = torch.load(file, map_location="cpu", weights_only=True)
    return int(state.get("training", state.get("progress"))["step"])


def add_run(facts: Facts, name: str, folder: Path) -> None:
    """Records logs, config, facts, checkpoints and state of a run folder, or of those of the folds in it."""
    for file in sorted(folder.rglob("*")):
        path = f"{name}/{file.relative_to(folder)}"
        if file.suffix == ".jsonl" and file.stem != "timings":
            for index, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
                facts.add(f"{path}/{index:03}", json.loads(line))
        elif file.suffix == ".json":
            facts.add(path, json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix in (".yaml", ".yml"):
            facts.add(path, yaml.safe_load(file.read_text(encoding="utf-8")))
        elif file.suffix == ".safetensors":
            facts.add(path, {key: tensor_digest(tensor) for key, tensor in load_file(file).items()})
        elif file.name == "state.pt":
            tensors = list(tensors_within(torch.load(file, map_location="cpu", weights_only=True)))
            facts.values[path] = sorted_digests(tensors)
        elif file.is_file() and file.parent.name == "checkpoints":
            facts.add(path, file.read_text(encoding="utf-8").strip())


def initial_config(shop: Workshop) -> None:
    """Records the config that init fits to a data set, and the schema of configs without its sentences."""
    model = ("--backbone", "test_resnet", "--weights", "none")
    command = [*EML, "init", "grocery160/small.csv", "--out", "fitted.yaml", *model]
    done = subprocess.run(command, cwd=shop.runs, env=environment(), capture_output=True, check=False)
    shop.facts.add("runs/init/exit_code", done.returncode)
    if not done.returncode:
        shop.facts.add("runs/init/config", yaml.safe_load((shop.runs / "fitted.yaml").read_text(encoding="utf-8")))
    shop.eml("runs/schema", "config", "schema")
    shop.eml("runs/margins", "margins", "--json")


def record_evaluations(shop: Workshop) -> None:
    """Records metrics of runs and of a pretrained network, thresholds and suspects."""
    write_pairs(shop)
    data, full = ("--data", "grocery160/other.csv", "--no-report", "--json"), ("--verification", "--clustering")
    pretrained = ("timm:mobilenetv2_100", "--weights", shop.source / WEIGHTS, "--image-size", "64")
    shop.eml("evaluate/whole", "evaluate", "whole", *data, *full, "--slice", "coarse", "--out", "evaluations/whole")
    more = ("--leave-out-same", "camera", "--pairs", "grocery160/pairs.csv", "--against", "sampled")
    shop.eml("evaluate/tiled", "evaluate", "tiled", *data, *more, "--out", "evaluations/tiled")
    noisy = ("--data", "grocery160/noisy.csv", "--within", "camera", "--no-report", "--json", "--save-embeddings")
    shop.eml("evaluate/pretrained", "evaluate", *pretrained, *noisy, *full, "--out", "evaluations/pretrained")
    calibration = ("--data", "grocery160/other.csv", "--json")
    shop.eml("calibrate/far", "calibrate", "whole", *calibration, "--far", "0.1")
    shop.eml("calibrate/pair_far", "calibrate", "sampled", *calibration, "--pair-far", "0.02", "--strict")
    shop.eml("calibrate/precision", "calibrate", "tiled", *calibration, "--precision", "0.5", "--within", "camera")
    shop.eml("evaluate/calibrated", "evaluate", "whole", *data, "--out", "evaluations/calibrated")
    shop.eml("suspects/folds", "suspects", "folds", "--min-score", "0.5", "--out", "suspects_folds", "--json")
    for index, file in enumerate(sorted((shop.runs / "evaluations/pretrained").rglob("*.npz"))):
        with np.load(file) as stored:
            largest = max((stored[key] for key in stored), key=lambda array: array.nbytes * (array.dtype.kind == "f"))
            shop.facts.add(f"evaluate/pretrained/embeddings/{index}", tensor_digest(torch.from_numpy(largest)))
        where = ("--root", "grocery160", "--out", "suspects_noisy")
        shop.eml(f"suspects/noisy/{index}", "suspects", file, "--one-network", *where, "--json")
    for name in ("folds", "noisy"):
        shop.add_tables(f"suspects/of/{name}", shop.runs / f"suspects_{name}")
    for file in sorted((shop.runs / "evaluations").rglob("*.json")):
        name = f"evaluate/of/{file.relative_to(shop.runs / 'evaluations')}"
        shop.facts.add(name, json.loads(file.read_text(encoding="utf-8")))


def write_pairs(shop: Workshop) -> None:
    """Writes pairs of images of other.csv, every second of them of one class."""
    with (shop.runs / "grocery160" / "other.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    pairs = []
    for index in range(len(rows) - 1):
        first, second = rows[index], rows[(index + 1) if index % 2 else (index * 5 + 31) % len(rows)]
        pairs.append([first["file_name"], second["file_name"], int(first["label"] == second["label"])])
    write_rows(shop.runs / "grocery160" / "pairs.csv", ["file_name_1", "file_name_2", "same"], pairs)


# ---------------------------------------------------------------------------------------------------------------------
# Recording and comparing.

SECTIONS: dict[str, Callable[[Workshop], None]] = {
    "margins": lambda shop: record_margins(shop.facts),
    "goldens": lambda shop: record_goldens(shop.facts),
    "tables": record_tables,
    "runs": record_runs,
}


def record(out: Path, work: Path, source: Path, sections: Iterable[str]) -> None:
    """Records the sections into a JSON file."""
    torch.set_num_threads(1)
    data, runs = work / "data", work / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    for folder in (data, runs):
        folder.mkdir(parents=True, exist_ok=True)
    shop = Workshop(data, runs, source, Facts(work))
    for name in sections:
        started = time.monotonic()
        SECTIONS[name](shop)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    written = {
        "eml": str(Path(import_module("eml").__file__ or "").parent),
        "machine": machine(),
        "sections": list(sections),
        "facts": dict(sorted(shop.facts.values.items())),
    }
    out.write_text(json.dumps(written, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(shop.facts.values):,} facts of {written['eml']} in {out}", file=sys.stderr)


def machine() -> dict[str, str]:
    """Tells what the last bits depend on besides eml."""
    packages = ("torch", "numpy", "timm", "pandas", "pillow", "albumentations", "scikit-learn", "scipy")
    versions = {"python": platform.python_version(), "cpu": torch.backends.cpu.get_cpu_capability()}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    features = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return versions | {"processor": digest(*features)} | {name: version(name) for name in packages}


class Renames:
    """Old names and what they have become: parts of paths, several parts in a row, or values."""

    def __init__(self, names: dict[str, str | None]) -> None:
        rules = {tuple(old.split("/")): new for old, new in names.items()}
        self.rules = dict(sorted(rules.items(), key=lambda rule: -len(rule[0])))
        self.values = {old: new for old, new in names.items() if new is not None}

    def path(self, old: str) -> str | None:
        """Gives the new path, None where it is dropped; of several rules the one with the most parts holds."""
        parts, renamed_parts, place = old.split("/"), [], 0
        while place < len(parts):
            for rule, new in self.rules.items():
                if tuple(parts[place : place + len(rule)]) == rule:
                    if new is None:
                        return None
                    renamed_parts.append(new)
                    place += len(rule)
                    break
            else:
                renamed_parts.append(parts[place])
                place += 1
        return "/".join(renamed_parts)

    def value(self, old: str) -> str:
        """Gives a value in new words: a name, or the parts of a path of a file."""
        return self.values.get(old) or "/".join(self.values.get(part, part) for part in old.split("/"))


def compare(old_file: Path, new_file: Path, renames_file: Path | None, limit: int) -> bool:
    """Prints the differences between two recordings; gives whether there are any."""
    old, new = (json.loads(file.read_text(encoding="utf-8")) for file in (old_file, new_file))
    names = json.loads(renames_file.read_text(encoding="utf-8")) if renames_file else {}
    for key in sorted(old["machine"].keys() | new["machine"].keys()):
        if (was := old["machine"].get(key)) != (now := new["machine"].get(key)):
            print(f"warning: {key} was {was} and is {now}: numbers may differ in their last bits through that alone")
    shared = [name for name in old["sections"] if name in new["sections"]]
    print(f"sections compared: {', '.join(shared)}")
    before, collisions = renamed(of_sections(old, shared), Renames(names))
    after = of_sections(new, shared)
    words = Renames(names)
    gone = [f"{path} = {before[path]}" for path in before if path not in after]
    come = [f"{path} = {after[path]}" for path in after if path not in before]
    both = [path for path in before if path in after]
    changed = [path for path in both if after[path] not in (before[path], words.value(before[path]))]
    print_some("two old facts that get one name", collisions, limit)
    print_some("only in the old recording", gone, limit)
    print_some("only in the new recording", come, limit)
    print_some("different", [difference(path, before[path], after[path]) for path in changed], limit)
    print(f"{len(both) - len(changed):,} facts are the same, {len(changed):,} differ,", end=" ")
    print(f"{len(gone):,} are only in the old recording, {len(come):,} only in the new one")
    return bool(collisions or gone or come or changed)


def of_sections(recording: Settings, sections: list[str]) -> dict[str, str]:
    """Gives the facts of these sections."""
    extra = {"evaluate": "runs", "calibrate": "runs", "suspects": "runs"}
    facts: dict[str, str] = recording["facts"]
    first = {path: path.split("/")[0] for path in facts}
    return {path: value for path, value in facts.items() if extra.get(first[path], first[path]) in sections}


def renamed(facts: dict[str, str], renames: Renames) -> tuple[dict[str, str], list[str]]:
    """Gives the facts under their new paths, and the paths that were given twice."""
    kept: dict[str, str] = {}
    twice = []
    for path, value in facts.items():
        new = renames.path(path)
        if new in kept:
            twice.append(f"{path} → {new}")
        elif new is not None:
            kept[new] = value
    return kept, twice


def difference(path: str, old: str, new: str) -> str:
    """Tells where two values differ: the first word that does, or how many of sorted hashes."""
    ours, theirs = old.split(), new.split()
    if len(ours) > 2 and ours == sorted(ours) and theirs == sorted(theirs):
        lost, come = (Counter(ours) - Counter(theirs)).total(), (Counter(theirs) - Counter(ours)).total()
        return f"{path}: {lost} of {len(ours)} tensors are gone, {come} of {len(theirs)} are new"
    if len(ours) == len(theirs) > 1:
        place = next((place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), 0)
        return f"{path}: word {place + 1} of {len(ours)} was {ours[place]}, is {theirs[place]}"
    return f"{path}: was {old[:100]}, is {new[:100]}"


def print_some(title: str, lines: list[str], limit: int) -> None:
    """Prints a list, shortened, with how many there are of each first two parts of the path."""
    if not lines:
        return
    print(f"{title}: {len(lines):,}")
    for line in lines[:limit]:
        print(f"  {line[:300]}")
    if len(lines) > limit:
        groups = Counter("/".join(line.split("/")[:2]) for line in lines)
        print(f"  … in all: {', '.join(f'{name} {count}' for name, count in groups.most_common(20))}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record the facts of the eml that can be imported")
    recording.add_argument("out", type=Path)
    recording.add_argument("--work", type=Path, help="folder that keeps the unpacked data; default: a temporary one")
    recording.add_argument("--source", type=Path, help="folder of the *.tar; default: EML_TEST_DATA or shared/data")
    recording.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    comparing = commands.add_parser("compare", help="print what differs; exit code 1 if anything does")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--renames", type=Path, help="JSON: old name → new name")
    comparing.add_argument("--limit", type=int, default=40, help="lines printed of each kind")
    options = parser.parse_args()
    if options.command == "compare":
        sys.exit(compare(options.old, options.new, options.renames, options.limit))
    places = [Path(os.environ.get("EML_TEST_DATA", "")), Path("../shared/data")]
    source = options.source or next(place for place in places if (place / "grocery160.tar").exists())
    with tempfile.TemporaryDirectory() as temporary:
        record(options.out, (options.work or Path(temporary)).resolve(), source.resolve(), options.only)


if __name__ == "__main__":
    main()
