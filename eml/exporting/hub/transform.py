"""A preprocessing as timm has it, and how far timm's own transform is from eml's."""

from typing import Any

from eml.images.preprocess import Preprocess

_MODES = {"squash": "squash", "crop": "center", "pad": "border"}
_GREY = (124, 116, 104)  # of eml's borders


def timm_settings(preprocess: Preprocess) -> dict[str, Any]:
    """Return the keys of timm's `pretrained_cfg` by which its transform does what a preprocessing does."""
    return {
        "input_size": [3, *preprocess.shape],
        "interpolation": preprocess.interpolation,
        "crop_pct": 1.0,
        "crop_mode": _MODES[preprocess.fit],
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
    }


def transform_differences(preprocess: Preprocess) -> list[str]:
    """Return in what timm's transform differs from eml's preprocessing, a sentence each."""
    sentences = []
    if preprocess.resize == "torch" and preprocess.interpolation != "lanczos":
        sentences.append("eml resizes with torch and timm with Pillow, which round differently.")
    if preprocess.fit == "crop":
        sentences.append(
            "eml cuts the central part out and resizes that; timm resizes the image and cuts the central part out."
        )
    if preprocess.fit == "pad" and tuple(round(255 * value) for value in preprocess.mean) != _GREY:
        sentences.append("Borders have the mean's colour in timm, and in eml the grey of ImageNet's mean.")
    sentences.append(
        "Transparency is put on black or white in eml, whichever shows the image better; convert such images to RGB "
        "yourself."
        if preprocess.background == "contrast"
        else "Transparency is put on white in eml; convert such images to RGB yourself."
    )
    return sentences
