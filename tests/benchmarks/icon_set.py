"""Build the set `icons`: one class per icon name, its images are the drawings of it by different icon themes.

    apt-get install librsvg2-bin    # brings rsvg-convert
    python tests/benchmarks/icon_set.py DATA/icons [--packages FOLDER]

Downloads the icon themes of PACKAGES with apt-get (430 MB; --packages: a folder that has them already, as
PACKAGE_VERSION_all.deb) and writes DATA/icons/images/CLASS/THEME.png, 64 × 64 on white, for every icon that at least
four themes have drawn. `sources.csv` beside `images` says which file each image is made of. Icons below 32 pixels and
symbolic ones, of one colour, are left out, and so are:

- names that share a drawing in two or more themes, as links or copies: they mean the same, and only the name that more
  themes have drawn stays;
- further names of a drawing within a theme, and drawings that hardly differ from another theme's (themes are built on
  each other).

With the themes of Debian 12 the set has 900 classes and 6,004 images; other releases differ a little.

Licences, as the packages' copyright files state them: CC-BY-SA 3.0 or 4.0 or LGPL-3 (Adwaita, mate, suru, Yaru, Mint-Y,
Paper), GPL-3 or CC-BY-SA 4.0 (Faba, Moka), LGPL (breeze, oxygen, bloom, nuoveXT2), GPL-2 or 3 (gnome, gartoon, Nuovo,
Faenza, Numix, Obsidian, Papirus, ukui, elementary, elementary-xfce), public domain (Tango). Many drawings are logos,
trademarks of their owners. The images are made on your machine; eml does not distribute them.
"""

import argparse
import csv
import hashlib
import io
import math
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {
    "adwaita-icon-theme": "Adwaita",
    "breeze-icon-theme": "breeze",
    "deepin-icon-theme": "bloom",
    "elementary-icon-theme": "elementary",
    "elementary-xfce-icon-theme": "elementary-xfce",
    "faba-icon-theme": "Faba",
    "faenza-icon-theme": "Faenza",
    "gnome-icon-theme": "gnome",
    "gnome-icon-theme-gartoon": "gartoon",
    "gnome-icon-theme-nuovo": "Nuovo",
    "lxde-icon-theme": "nuoveXT2",
    "mate-icon-theme": "mate",
    "mint-y-icons": "Mint-Y",
    "moka-icon-theme": "Moka",
    "numix-icon-theme": "Numix",
    "numix-icon-theme-circle": "Numix-Circle",
    "obsidian-icon-theme": "Obsidian",
    "oxygen-icon-theme": "oxygen",
    "paper-icon-theme": "Paper",
    "papirus-icon-theme": "Papirus",
    "suru-icon-theme": "suru",
    "tango-icon-theme": "Tango",
    "ukui-themes": "ukui",
    "yaru-theme-icon": "Yaru",
}
SIDE, FEWEST, NEAR = 64, 4, 6.0
SIZE = re.compile(r"^(\d+)(?:x\d+)?(?:@(\d)x?)?$")


def themes(packages: Path | None, work: Path) -> Iterator[tuple[str, Path]]:
    """Unpack each package, downloading it if need be, and yield a theme's name and folder."""
    for package, theme in PACKAGES.items():
        folder = packages or work
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        packed = ["dpkg-deb", "--fsys-tarfile", str(next(folder.glob(f"{package}_*.deb")))]
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
            only = f"./usr/share/icons/{theme}/"  # the other colours of a theme are several times as much
            subprocess.run(["tar", "-x", "-C", str(work), only], stdin=tar.stdout, check=True)
        yield theme, work / only


def nominal(parts: tuple[str, ...]) -> int:
    """Return the pixels that a file's folders promise; drawings of any size count as 64, unknown ones as 0."""
    for part in parts:
        if found := SIZE.match(part):
            return int(found[1]) * int(found[2] or 1)
    return SIDE if "scalable" in parts else 0


def files(theme: Path) -> dict[str, Path]:
    """Return the best file of each icon name: real files before links, then nearest to 64 pixels, larger first."""
    best: dict[str, tuple[tuple[bool, float], Path]] = {}
    for path in sorted(theme.rglob("*")):
        parts = path.relative_to(theme).parts
        size = nominal(parts[:-1])
        if path.suffix not in (".png", ".svg", ".svgz") or size < 32 or "symbolic" in str(path.relative_to(theme)):
            continue
        if not path.is_file():  # a link into another package
            continue
        name = path.stem.lower()
        rank = (path.is_symlink(), abs(math.log2(size / SIDE)) - 0.01 * (size > SIDE))
        if name not in best or rank < best[name][0]:
            best[name] = (rank, path)
    return {name: path for name, (_, path) in best.items()}


def drawn(path: Path) -> Image.Image | None:
    """Render a drawing to 64 × 64 on white; None if it cannot be read or is blank."""
    try:
        if path.suffix == ".png":
            image = Image.open(path)
        else:
            command = ["rsvg-convert", "-w", str(SIDE), "-h", str(SIDE), "--keep-aspect-ratio", str(path)]
            image = Image.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout))
        image = image.convert("RGBA")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE), "white")
    canvas.alpha_composite(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    rgb = canvas.convert("RGB")
    return rgb if np.asarray(rgb).std() > 5 else None


def of_one_meaning(by_theme: dict[str, dict[str, list[str]]], counts: Counter[str]) -> set[str]:
    """Return the names to leave out since two or more themes draw them as another, more frequent name."""
    pairs: Counter[tuple[str, str]] = Counter()
    for drawings in by_theme.values():
        for names in drawings.values():
            pairs.update(combinations(sorted(name for name in names if counts[name] >= FEWEST), 2))
    left_out: set[str] = set()
    for (first, second), times in sorted(pairs.items()):
        if times > 1 and not {first, second} & left_out:
            left_out.add(first if counts[first] < counts[second] else second)
    return left_out


def collect(packages: Path | None, work: Path) -> dict[str, dict[str, Path]]:
    """Return, by icon name, the file of each theme that has a drawing of its own of it."""
    by_theme: dict[str, dict[str, list[str]]] = {}
    own: dict[str, dict[str, Path]] = defaultdict(dict)
    for theme, folder in themes(packages, work):
        found = files(folder)
        drawings: dict[str, list[str]] = defaultdict(list)
        for name, path in found.items():
            drawings[hashlib.sha256(path.read_bytes()).hexdigest()].append(name)
        for names in drawings.values():
            name = min(names, key=lambda name: (found[name].is_symlink(), name))
            own[name][theme] = found[name]
        by_theme[theme] = dict(drawings)
        print(f"{theme}: {len(found)} names, {len(drawings)} drawings", flush=True)
    left_out = of_one_meaning(by_theme, Counter({name: len(paths) for name, paths in own.items()}))
    return {name: paths for name, paths in own.items() if len(paths) >= FEWEST and name not in left_out}


def build(out: Path, packages: Path | None) -> None:
    """Write the images and the list of their sources."""
    rows: list[tuple[str, str, str]] = []
    seen: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in sorted(collect(packages, Path(folder)).items()):
            kept: dict[str, Image.Image] = {}
            for theme, path in paths.items():
                image = drawn(path)
                if image is None or image.tobytes() in seen:
                    continue
                pixels = np.asarray(image, dtype=np.float32)
                if all(np.abs(pixels - np.asarray(other, dtype=np.float32)).mean() > NEAR for other in kept.values()):
                    kept[theme] = image
            if len(kept) < FEWEST:
                continue
            label = re.sub(r"[^\w.+-]", "_", name)
            (out / "images" / label).mkdir(parents=True, exist_ok=True)
            for theme, image in kept.items():
                seen.add(image.tobytes())
                image.save(out / "images" / label / f"{theme}.png")
                rows.append((f"{label}/{theme}.png", theme, str(paths[theme].relative_to(folder))))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "sources.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "theme", "file"), *rows])
    print(f"{len({row[0].split('/')[0] for row in rows})} classes, {len(rows)} images in {out / 'images'}")


def main() -> None:
    """Parse the command line and build the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, help="folder with the .deb files, to download none")
    options = parser.parse_args()
    build(options.out.absolute(), options.packages and options.packages.absolute())


if __name__ == "__main__":
    main()
