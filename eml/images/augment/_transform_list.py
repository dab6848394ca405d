"""Checks of a list of albumentations' transforms, as written in YAML."""

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
SIDE = 64  # side of the image on which each transform is tried, and of the network while its size is unknown

_OTHERS = "needs several images, and only one is available"
_BOXES = "needs boxes or masks of the image, which are not available"
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
    **dict.fromkeys(("Normalize", "ToFloat", "FromFloat"), "does not return pixels; eml normalises later"),
    "ToTensorV2": "returns a tensor; eml converts later",
    "TextImage": "needs texts to write, which are not available",
    "ToRGB": "is for grey images; every image is already RGB",
    "Lambda": "needs a function, which YAML cannot contain",
    **dict.fromkeys(("Compose", "ReplayCompose"), "is the whole list already; use Sequential"),
}
"""Transforms that cannot be used here, with the reason."""


class Flaw(NamedTuple):
    """A problem at a place in the list; the message continues the place."""

    loc: tuple[str | int, ...]
    message: str


def usable() -> dict[str, type]:
    """Return the transforms that can be used, by name."""
    module = library()
    bases = (module.BasicTransform, module.BaseCompose)
    abstract = {"BasicTransform", "BaseCompose", "DualTransform", "ImageOnlyTransform", "Transform3D"}
    classes = {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and issubclass(cls, bases)}
    return {name: classes[name] for name in sorted(classes) if name not in abstract | REFUSED.keys()}


def flaws(written: Sequence[object], loc: tuple[str | int, ...] = ()) -> Iterator[Flaw]:
    """Yield every problem of a list of transforms; `loc` is the place of the list."""
    if not written:
        yield Flaw(loc, "must contain at least one transform.")
    for index, entry in enumerate(written):
        yield from _transform_flaws(entry, (*loc, index))


def _transform_flaws(written: object, loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    if isinstance(written, Mapping) and len(written) == 1:
        ((name, arguments),) = written.items()
        loc = (*loc, name)
    elif isinstance(written, Mapping):
        first, *rest = map(str, written) if written else ("nothing",)
        hint = f". Indent the arguments of {first} further" if rest else ""
        yield Flaw(loc, f"must be one transform, got {', '.join([first, *rest])}{hint}.")
        return
    else:
        name, arguments = written, None
    if not isinstance(name, str):
        yield Flaw(loc, f"must be the name of a transform or {{NAME: {{arguments}}}}, got {shown(name)}.")
    elif name in REFUSED:
        yield Flaw(loc, f"cannot be used: {name} {REFUSED[name]}.")
    elif (cls := usable().get(name)) is None:
        known = usable()
        hint = did_you_mean(name, known) or f"; {PAGE} lists the {len(known)} that can be used"
        yield Flaw(loc, f"is not a transform of albumentations: {name!r}{hint}.")
    elif arguments is not None and not isinstance(arguments, Mapping):
        yield Flaw(loc, f"must be a section with {name}'s arguments, got {shown(arguments)}.")
    else:
        argument_flaws = list(_argument_flaws(name, cls, dict(arguments or {}), loc))
        yield from argument_flaws or _result_flaws(written, loc)


def _argument_flaws(name: str, cls: type, arguments: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """Yield unknown, missing and wrong arguments, and the problems of inner transforms."""
    parameters = dict(inspect.signature(cls.__init__).parameters)  # type: ignore[misc]
    del parameters["self"]
    unknown = {str(key): key for key in arguments if key not in parameters}
    for key, original in unknown.items():
        known = listed(parameters)
        yield Flaw((*loc, original), f"is not an argument of {name}{did_you_mean(key, parameters)}; known: {known}.")
    complete = filled(cls, {key: value for key, value in arguments.items() if key in parameters}, SIDE)
    for key, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty or (key == "transforms" and parameter.default is None)
        if required and key not in complete and not any(did_you_mean(word, [key]) for word in unknown):
            yield Flaw(loc, f"lacks an argument: {name} needs {key!r}.")
            return
    chance = complete.get("p", 0)
    if not (isinstance(chance, int | float) and not isinstance(chance, bool) and 0 <= chance <= 1):
        yield Flaw((*loc, "p"), f"must be a chance from 0 to 1, got {shown(chance)}.")
        return
    if "transforms" in parameters:
        yield from _composition_flaws(complete, loc)
    else:
        yield from _value_flaws(cls, complete, loc)


def _composition_flaws(arguments: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    inner = arguments["transforms"]
    if not isinstance(inner, list | tuple):
        yield Flaw((*loc, "transforms"), f"must be a list of transforms, got {shown(inner)}.")
        return
    yield from flaws(inner, (*loc, "transforms"))
    count = arguments.get("n", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        yield Flaw((*loc, "n"), f"must be a whole number of at least 1, got {shown(count)}.")
    elif count > len(inner) and not arguments.get("replace"):
        yield Flaw((*loc, "n"), f"must be at most {len(inner)}, the number of transforms, got {count}.")


def _value_flaws(cls: type, arguments: dict[str, Any], loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """Yield the problems that albumentations itself reports.

    Its warnings count as problems, since it continues with its defaults after one.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cls(**arguments)
    except Exception as error:
        if not isinstance(cause := error.__cause__, ValidationError):
            yield Flaw(loc, f"is refused by albumentations: {_first_line(str(error))}.")
            return
        messages: dict[tuple[str | int, ...], list[str]] = {}
        for entry in cause.errors(include_url=False, include_context=False):
            messages.setdefault(entry["loc"][:1], []).append(_first_line(entry["msg"]))
        for key, texts in messages.items():
            value = arguments.get(str(key[0])) if key else None
            yield Flaw((*loc, *key), _joined(texts, shown(value)))
        return
    about_the_class = (cls.__name__, "This augmenter")  # such a warning recommends another class
    if relevant := [text for entry in caught if not (text := str(entry.message)).startswith(about_the_class)]:
        yield Flaw(loc, f"is refused by albumentations: {_first_line(relevant[0])}.")


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or [""])[0].removeprefix("Value error, ").rstrip(".")


def _joined(texts: Sequence[str], got: str) -> str:
    """Join pydantic's messages for the branches of a union: `must be a valid tuple or a valid number, got 'x'.`"""
    pattern = r"Input should be (.+?)(?:, (?:unable|got) .*)?$"
    allowed = [match[1] for text in texts if (match := re.match(pattern, text))]
    return f"must be {alternatives(allowed)}, got {got}." if allowed else f"is refused by albumentations: {texts[0]}."


def _result_flaws(written: Any, loc: tuple[str | int, ...]) -> Iterator[Flaw]:
    """Yield a flaw when the result is not an RGB image. An exception is not a flaw: real images may be larger."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    try:
        changed = make([written], SIDE)[0](image=pixels, force_apply=True)["image"]
    except Exception:
        return
    if changed.dtype != np.uint8 or changed.shape[2:] != (3,):
        shape = " × ".join(map(str, changed.shape))
        yield Flaw(loc, f"returns {changed.dtype} of {shape}, not an RGB image of whole numbers from 0 to 255.")
