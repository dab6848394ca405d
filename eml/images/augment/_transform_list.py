"""Whether a list of albumentations' transforms, as it is written in YAML, can be used; what is wrong with it else."""

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from eml.config.text import alternatives, did_you_mean, listed, shown
from eml.images.augment._albumentations_adapter import filled, library, make

PAGE = "docs/augmentation.md"
SIDE = 64  # of the image on which each transform is tried, and of the network while its size is not known

_OTHERS = "needs other images beside the one, which it is not given"
_BOXES = "needs boxes or masks in the image, which it is not given"
_VOLUMES = "is for volumes"
REFUSED = {
    **dict.fromkeys(("FDA", "HistogramMatching", "PixelDistributionAdaptation", "Mosaic", "OverlayElements"), _OTHERS),
    **dict.fromkeys(
        (
            *("AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop", "ConstrainedCoarseDropout", "CropNonEmptyMaskIfExists"),
            *("MaskDropout", "RandomCropNearBBox", "RandomSizedBBoxSafeCrop"),
        ),
        _BOXES,
    ),
    **dict.fromkeys(("CenterCrop3D", "CoarseDropout3D", "CubicSymmetry", "Pad3D", "PadIfNeeded3D"), _VOLUMES),
    **dict.fromkeys(("RandomCrop3D", "ToTensor3D"), _VOLUMES),
    **dict.fromkeys(("Normalize", "ToFloat", "FromFloat"), "gives numbers that are no pixels; eml normalises later"),
    "ToTensorV2": "gives a tensor; eml makes it later",
    "TextImage": "needs the texts that it should write, which it is not given",
    "ToRGB": "is for grey images; each image is RGB already",
    "Lambda": "needs a function, which YAML cannot hold",
    **dict.fromkeys(("Compose", "ReplayCompose"), "is what the whole list is; use Sequential"),
}
"""Transforms that cannot be used here, and why."""


class Flaw(NamedTuple):
    """What is wrong at a place in the list; the message continues the place."""

    loc: tuple[str | int, ...]
    message: str


def usable() -> dict[str, type]:
    """The transforms that can be used, by name."""
    module = library()
    bases = (module.BasicTransform, module.BaseCompose)
    abstract = {"BasicTransform", "BaseCompose", "DualTransform", "ImageOnlyTransform", "Transform3D"}
    classes = {name: each for name, each in vars(module).items() if isinstance(each, type) and issubclass(each, bases)}
    return {name: classes[name] for name in sorted(classes) if name not in abstract | REFUSED.keys()}


def flaws(written: Sequence[object], loc: tuple[str | int, ...] = ()) -> Iterator[Flaw]:
    """Everything that is wrong with a list of transforms; the list's own place is `loc`."""
    if not written:
        yield Flaw(loc, "must hold at least one transform.")
    for index, each in enumerate(written):
        yield from _of_one(each, (*loc, index))


def _of_one(written: object, loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    if isinstance(written, Mapping) and len(written) == 1:
        ((name, arguments),) = written.items()
        loc = (*loc, name)
    elif isinstance(written, Mapping):
        first, *rest = map(str, written) if written else ("nothing",)
        hint = f". Indent what belongs to {first} further than it" if rest else ""
        yield Flaw(loc, f"must be one transform, got {', '.join([first, *rest])}{hint}.")
        return
    else:
        name, arguments = written, None
    if not isinstance(name, str):
        yield Flaw(loc, f"must be the name of a transform or {{NAME: {{its arguments}}}}, got {shown(name)}.")
    elif name in REFUSED:
        yield Flaw(loc, f"cannot be used: {name} {REFUSED[name]}.")
    elif (cls := usable().get(name)) is None:
        known = usable()
        hint = did_you_mean(name, known) or f"; {PAGE} lists the {len(known)} that can be used"
        yield Flaw(loc, f"is no transform of albumentations: {name!r}{hint}.")
    elif arguments is not None and not isinstance(arguments, Mapping):
        yield Flaw(loc, f"must be a section with {name}'s arguments, got {shown(arguments)}.")
    else:
        found = list(_of_arguments(name, cls, dict(arguments or {}), loc))
        yield from found or _of_result(written, loc)


def _of_arguments(name: str, cls: type, given: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """Unknown, missing and wrong arguments, and what is wrong with the transforms within."""
    parameters = dict(inspect.signature(cls.__init__).parameters)  # type: ignore[misc]
    del parameters["self"]
    wrong = {str(key): key for key in given if key not in parameters}
    for key, original in wrong.items():
        known = listed(parameters)
        yield Flaw((*loc, original), f"is no argument of {name}{did_you_mean(key, parameters)}; known: {known}.")
    complete = filled(cls, {key: value for key, value in given.items() if key in parameters}, SIDE)
    for key, parameter in parameters.items():
        needed = parameter.default is inspect.Parameter.empty or (key == "transforms" and parameter.default is None)
        if needed and key not in complete and not any(did_you_mean(each, [key]) for each in wrong):
            yield Flaw(loc, f"lacks an argument: {name} needs {key!r}.")
            return
    chance = complete.get("p", 0)
    if not (isinstance(chance, int | float) and not isinstance(chance, bool) and 0 <= chance <= 1):
        yield Flaw((*loc, "p"), f"must be a chance from 0 to 1, got {shown(chance)}.")
        return
    if "transforms" in parameters:
        yield from _of_composition(complete, loc)
    else:
        yield from _of_values(cls, complete, loc)


def _of_composition(given: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    inner = given["transforms"]
    if not isinstance(inner, list | tuple):
        yield Flaw((*loc, "transforms"), f"must be a list of transforms, got {shown(inner)}.")
        return
    yield from flaws(inner, (*loc, "transforms"))
    count = given.get("n", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        yield Flaw((*loc, "n"), f"must be a whole number of at least 1, got {shown(count)}.")
    elif count > len(inner) and not given.get("replace"):
        yield Flaw((*loc, "n"), f"must be at most {len(inner)}, the number of transforms, got {count}.")


def _of_values(cls: type, given: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """What albumentations itself says of the arguments. Its warnings count: after one it goes on with its defaults."""
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            cls(**given)
    except Exception as error:
        if not isinstance(cause := error.__cause__, ValidationError):
            yield Flaw(loc, f"is refused by albumentations: {_first_line(str(error))}.")
            return
        messages: dict[tuple[str | int, ...], list[str]] = {}
        for each in cause.errors(include_url=False, include_context=False):
            messages.setdefault(each["loc"][:1], []).append(_first_line(each["msg"]))
        for key, said in messages.items():
            value = given.get(str(key[0])) if key else None
            yield Flaw((*loc, *key), _joined(said, shown(value)))
        return
    about_the_class = (cls.__name__, "This augmenter")  # that another is preferred, or quicker
    if meant := [text for each in noted if not (text := str(each.message)).startswith(about_the_class)]:
        yield Flaw(loc, f"is refused by albumentations: {_first_line(meant[0])}.")


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or [""])[0].removeprefix("Value error, ").rstrip(".")


def _joined(said: Sequence[str], got: str) -> str:
    """pydantic's messages of the branches of a union as one: `must be a valid tuple or a valid number, got 'x'.`"""
    wanted = [match[1] for each in said if (match := re.match(r"Input should be (.+?)(?:, (?:unable|got) .*)?$", each))]
    return f"must be {alternatives(wanted)}, got {got}." if wanted else f"is refused by albumentations: {said[0]}."


def _of_result(written: Any, loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """Whether an RGB image comes out. That it raises is no flaw yet: real images may be larger."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    try:
        changed = make([written], SIDE)[0](image=pixels, force_apply=True)["image"]
    except Exception:
        return
    if changed.dtype != np.uint8 or changed.shape[2:] != (3,):
        shape = " × ".join(map(str, changed.shape))
        yield Flaw(loc, f"gives {changed.dtype} of {shape}, which is no RGB image of whole numbers from 0 to 255.")
