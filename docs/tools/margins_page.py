"""Write docs/margins.md and docs/margins.png from the registry of margins: `python docs/tools/margins_page.py docs`."""

import inspect
import math
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from eml.config import Choice, Strict
from eml.files import whole_file, write_text
from eml.head.class_margins import ClassMargins
from eml.head.config import HeadConfig, MarginSchedule
from eml.head.modes import Mode
from eml.head.row_optimizers import RowOptimizer
from eml.margins import Context, Margin, Prototypes, Statistics

LENGTHS = (10.0, 60.0, 110.0)  # lengths of embeddings, for margins that depend on them
COLUMNS = 5

INTRODUCTION = """# Margins

After this page you can set a margin in a config, and use it in a notebook. How margins work and which to choose:
[explain_margins.md](explain_margins.md). One of your own: [plugins.md](plugins.md).

`eml margins` prints the same list in a terminal.

A margin lowers the target's cosine before the softmax. An embedding must then be nearer to its own class than to the
others by some distance. c is the cosine between an embedding and its own class weight, θ is its angle, and c_j is the
cosine to another class. The logits are the scale times the formula. The part after a semicolon applies to the other
classes.

```yaml
margin: {type: arcface, m: 0.3, past_pi: smooth}
head: {scale: 30}
```

![target and gradient of every margin](margins.png)

Each panel shows a margin with default settings, over the angle:

- Blue: the target cosine with the margin.
- Orange, dashed: the pull towards the class, −∂/∂θ. Below 0 the hardest samples are pushed away.
- Green, dotted: another class's cosine over its own angle, if the margin changes it. The target is at 60°.
- Grey: cosine and pull without a margin.

If the margin depends on the length of the embedding, lines from light to dark show lengths of 10, 60 and 110. A margin
with state is shown after a thousand steps.
"""

NOTEBOOK = """## In a notebook

```python
import torch
from eml.margins.arcface import ArcFace
from eml.losses.cross_entropy import CrossEntropy
from eml.head.functional import margin_logits, margin_loss
from eml.head.class_head import ClassHead

embeddings, labels = torch.randn(8, 128), torch.arange(8)
class_weights = torch.randn(100, 128)

logits = margin_logits(ArcFace(m=0.5), embeddings, class_weights, labels)  # (8, 100)
losses = margin_loss(ArcFace(m=0.5), embeddings, class_weights, labels)  # (8,)

head = ClassHead(ArcFace(m=0.5), num_classes=100, embedding_size=128)  # holds weights and state, for training
loss = CrossEntropy()(head(embeddings, labels)).mean()
loss.backward()
```
"""

LONG_TAILS = """
## Long tails

Where a few classes have hundreds of images and many have a few, the small ones can have a larger margin,
m = a·n^(−λ) + b for a class of n images, and several centres for a class whose images differ much. Ha 2020,
arXiv:2010.05350, won a third place on landmarks with both:

```yaml
margin: {type: subcenter_arcface, centers: 3}
head: {class_margins: {type: power, a: 0.5, b: 0.05, exponent: 0.25}}
```

The numbers are the paper's and the defaults: .55 rad for a class of one image, .21 for 100, .14 for 1,000; n is the
number of images that the run trains on. `class_margins: min_max` is what the released code does instead.
`margin_schedule` grows all of them alike. It goes with every margin that has an `m`, in every mode of the head;
`loss_weight_power` and `sampler: balanced` ([sampling.md](sampling.md)) are other ways.
"""


def page() -> str:
    """Return the text of margins.md."""
    members = {name: member.model_validate({"type": name}) for name, member in Margin.members().items()}
    rows = [
        [f"[{name}](#{name})", f"`{margin.formula}`", _number(margin.paper_scale), _reduction(margin), margin.paper]
        for name, margin in members.items()
    ]
    parts = [
        INTRODUCTION,
        _table(["margin", "formula", "scale", "loss", "paper"], rows),
        NOTEBOOK,
        "## With any margin\n\nSettings of `head:`.\n\n" + _settings(HeadConfig()),
        _section("head.margin_schedule", MarginSchedule()),
        _section("head.prototypes", Prototypes()),
        *_family("head.class_margins", ClassMargins),
        *_family("head.mode", Mode),
        *_family("head.mode.optimizer", RowOptimizer),
        LONG_TAILS,
        "## Every margin",
        *(f"### {name}\n\n{inspect.getdoc(margin)}\n\n{_settings(margin)}" for name, margin in members.items()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _family(key: str, family: type[Choice]) -> list[str]:
    members = family.members().items()
    return [_section(f"{key}: {{type: {name}}}", member.model_validate({"type": name})) for name, member in members]


def _section(key: str, section: Strict) -> str:
    return f"`{key}`: {inspect.getdoc(section)}\n\n{_settings(section)}"


def draw(path: Path) -> None:
    """Draw margins.png, one panel per margin."""
    from matplotlib.figure import Figure

    members = Margin.members()
    lines = math.ceil(len(members) / COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.5 * lines), layout="constrained")
    grid = list(figure.subplots(lines, COLUMNS, sharex=True, sharey=True).flat)
    for index, (name, member) in enumerate(members.items()):
        axes = grid[index]
        _panel(axes, member.model_validate({"type": name}))
        axes.set_title(name, fontsize=10)
        axes.set(xlim=(0, 180), ylim=(-3.2, 2.2), xticks=(0, 45, 90, 135, 180))
        axes.tick_params(labelbottom=index + COLUMNS >= len(members))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(members) :]:
        axes.set_visible(False)
    figure.supxlabel("angle to the class (degrees)")
    figure.supylabel("target / scale (blue), pull −∂/∂θ (orange), other class (green)")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png", metadata={"Software": None})


def _panel(axes: Any, margin: Margin) -> None:
    import torch

    theta = torch.linspace(0.5, 179.5, 359, dtype=torch.float64).deg2rad().requires_grad_()
    degrees, cosine = theta.detach().rad2deg(), theta.cos()
    axes.axhline(0, color="0.9", linewidth=0.8, zorder=0)
    axes.plot(degrees, cosine.detach(), color="0.8")
    axes.plot(degrees, theta.detach().sin(), "--", color="0.8")
    state = _state(margin)
    targets = [
        margin.target(cosine, Context(cosine, norms=cosine.detach() * 0 + length, state=state)) for length in LENGTHS
    ]
    if torch.equal(targets[0], targets[-1]):
        targets = targets[:1]
    for target, shade in zip(targets, (0.35, 0.65, 1.0) if len(targets) > 1 else (1.0,), strict=True):
        (slope,) = torch.autograd.grad(target.sum(), theta, retain_graph=True)
        axes.plot(degrees, target.detach(), color="C0", alpha=shade)
        axes.plot(degrees, -slope, "--", color="C1", alpha=shade)
    own = torch.full((1,), 0.5, dtype=torch.float64)  # cos 60°
    negative = margin.negatives(cosine.detach().unsqueeze(0), Context(own, norms=own * 0 + LENGTHS[0], state=state))[0]
    if (negative - cosine.detach()).abs().max() > 0.01:
        axes.plot(degrees, negative, ":", color="C2")


def _state(margin: Margin) -> dict[str, Any]:
    """Return the margin's buffers after a thousand steps with cosines of 0.5."""
    import torch

    def double(state: dict[str, Any]) -> dict[str, Any]:
        return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}

    state, ones = double(margin.initial_state(1000, 30.0)), torch.ones(3, dtype=torch.float64)
    statistics = Statistics(0.5 * ones, torch.tensor(LENGTHS, dtype=torch.float64), 30 * ones)
    for _ in range(1000):
        state |= margin.before(statistics, state)
    return state


def _reduction(margin: Margin) -> str:
    return {"softmax": "softmax", "bce": "binary per class", "proxy": "per class over the batch"}[margin.reduction]


def _settings(section: Any) -> str:
    """Return a table of a section's fields with default and description."""
    rows = []
    for key, field in type(section).model_fields.items():
        if key == "type":
            continue
        value = getattr(section, key)
        if isinstance(value, Choice):
            rows.append([f"`{key}`", f"`{value.type}`", _description(field)])
        elif isinstance(value, Strict):
            inner = type(value).model_fields.items()
            rows += [
                [f"`{key}.{name}`", f"`{_number(getattr(value, name))}`", _description(inner_field)]
                for name, inner_field in inner
            ]
        else:
            rows.append([f"`{key}`", f"`{_number(value)}`", _description(field)])
    return _table(["setting", "default", ""], rows) if rows else "No settings."


def _description(field: FieldInfo) -> str:
    """Return a field's description, its unit and its choices."""
    extra = field.json_schema_extra
    unit = f" ({extra['unit']})" if isinstance(extra, dict) and "unit" in extra else ""
    choices = (
        [f"`{choice}`" for choice in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    )
    return (field.description or "") + unit + (f" [{', '.join(choices)}]" if choices else "")


def _number(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(folder: Path) -> None:
    """Write the page and its image into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "margins.md", page())
    draw(folder / "margins.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
