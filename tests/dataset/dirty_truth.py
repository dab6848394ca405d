"""What dirty.tar's labels say about which of its files show the same image."""

import re
from collections.abc import Iterable
from itertools import combinations

BRIDGE = ("near_dup", "mode_variant_same_picture")  # two kinds, one photo
UNKNOWN = ("odd_file", "cleanvision_quality")  # the labels do not say which are copies: some are, too dark or blurred


def images(labels: Iterable[dict[str, str]]) -> dict[str, str]:
    """path → name of the image it shows, of the files whose image is known. A flip or rotation is another one."""
    shown = {}
    for label in labels:
        path, kind = label["path"], label["kind"]
        numbered = re.fullmatch(r"(ukbench\d+)(_resize)?", path.rpartition("/")[2].partition(".")[0])
        if kind in BRIDGE or path.endswith("bridge-1-original.jpg"):
            shown[path] = "bridge"
        elif kind == "exif_orientation_same_picture":
            shown[path] = label["group"]
        elif kind not in UNKNOWN:
            shown[path] = numbered[1] if numbered else path
    return shown


def copies(shown: dict[str, str], files: Iterable[str]) -> set[tuple[str, str]]:
    """The pairs of files that show the same image, each in the order of names."""
    known = sorted(path for path in files if path in shown)
    return {(one, other) for one, other in combinations(known, 2) if shown[one] == shown[other]}
