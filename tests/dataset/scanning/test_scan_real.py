"""scan on the real images of ../shared/data: awkward files with known labels, and the grocery photos."""

import csv
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from eml.dataset.scanning.scan import FolderScan, scan_folder
from tests.dataset.archives import unpacked
from tests.dataset.scanning.test_hashing import open_and_hash

pytestmark = pytest.mark.wide

REASONS = {  # of the files that labels.csv says no program opens
    "imagededup_mixed_images/ukbench09268_corrupt.jpg": "not_an_image",  # noise from its first byte
    "odd_files/broken_data_stream.png": "unreadable",
    "odd_files/decompression_bomb.gif": "too_large",
    "odd_files/decompression_bomb.ico": "too_large",
    "odd_files/truncated_image.png": "truncated",
    "odd_files/truncated_jpeg.jpg": "truncated",
    "odd_files/zero_width.gif": "unreadable",
}


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("dirty", tmp_path_factory.mktemp("dirty"))


@pytest.fixture(scope="module")
def scanned(dirty: Path) -> FolderScan:
    return scan_folder(dirty)


@pytest.fixture(scope="module")
def labels(dirty: Path) -> list[dict[str, str]]:
    with (dirty / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def groceries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("grocery160", tmp_path_factory.mktemp("grocery")) / "images"


def orientation(path: Path) -> int:
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        return int(image.getexif().get(0x0112, 1))


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def test_every_labelled_file_is_a_row_or_an_error_with_the_right_reason(
    scanned: FolderScan, labels: list[dict[str, str]], dirty: Path
) -> None:
    rows = scanned.table.set_index("file_name")
    reasons = dict(zip(scanned.errors["file_name"], scanned.errors["reason"], strict=True))
    labelled = {path: reason for path, reason in reasons.items() if not path.startswith(("licenses/", "labels"))}
    assert labelled == REASONS
    assert {reasons[path] for path in reasons if path.startswith("licenses/")} == {"not_an_image"}
    assert reasons["labels.csv"] == "not_in_a_class"
    assert {label["path"] for label in labels} == {*rows.index, *REASONS}
    for label in labels:
        if label["pillow_opens"] == "1":
            row, (format_, mode, size, _) = rows.loc[label["path"]], label["detail"].split("/")
            assert (row["format"], row["mode"]) == (format_, mode), label
            stored = tuple(map(int, size.split("x")))
            turned = format_ != "TIFF" and orientation(dirty / label["path"]) >= 5  # Pillow itself turns TIFFs
            assert (row["width"], row["height"]) == (stored[::-1] if turned else stored), label


def test_exif_copies_are_one_image(scanned: FolderScan, labels: list[dict[str, str]]) -> None:
    rows = scanned.table.set_index("file_name")
    groups = defaultdict(list)
    for label in labels:
        if label["kind"] == "exif_orientation_same_picture":
            groups[label["group"]].append(label["path"])
    for number in range(2, 9):
        for suffix in ("jpg", "webp"):
            groups[f"hopper {suffix}"].append(f"odd_files/hopper_orientation_{number}.{suffix}")
    assert sorted(map(len, groups.values())) == [7, 7, 9, 9]
    for paths in groups.values():
        assert len({(rows["width"][path], rows["height"][path]) for path in paths}) == 1
        assert max(distance(rows["hash"][a], rows["hash"][b]) for a, b in combinations(paths, 2)) <= 2


def test_bombs_are_refused_within_a_second_and_300_mb(dirty: Path) -> None:
    code = (
        "import re, resource, sys, time, pathlib; from eml.images.decode import ImageError, decode\n"
        "for path in sys.argv[1:]:\n"
        "    start = time.perf_counter()\n"
        "    try: decode(pathlib.Path(path))\n"
        "    except ImageError as error: print(error.reason, time.perf_counter() - start)\n"
        # On Linux ru_maxrss begins at the parent's; VmHWM is the process's own.
        "status = pathlib.Path('/proc/self/status')\n"
        "own = re.search(r'VmHWM:\\s+(\\d+)', status.read_text()) if status.exists() else None\n"
        "print(own[1] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    bombs = sorted(map(str, (dirty / "odd_files").glob("decompression_bomb.*")))
    done = subprocess.run([sys.executable, "-c", code, *bombs], capture_output=True, text=True, check=True)
    *refused, peak = done.stdout.splitlines()
    assert [line.split()[0] for line in refused] == ["too_large"] * 2
    assert max(float(line.split()[1]) for line in refused) < 1
    assert int(peak) * (1 if sys.platform == "darwin" else 1024) < 300e6


def test_fast_hashes_are_within_two_bits_of_imagehashs_on_photos(groceries: Path) -> None:
    fast = scan_folder(groceries)
    exact = scan_folder(groceries, hash_kind="phash-imagehash")
    assert len(fast.table) == 5421
    assert fast.table.drop(columns=["hash", "hash_kind"]).equals(exact.table.drop(columns=["hash", "hash_kind"]))
    distances = Counter(map(distance, fast.table["hash"], exact.table["hash"]))
    print(f"\nbits between phash-luma256 and phash-imagehash on grocery160: {dict(sorted(distances.items()))}")
    assert sum(count for bits, count in distances.items() if bits <= 2) >= 0.999 * 5421


@pytest.mark.parametrize("size", [(500, 375), (1024, 768), (2048, 1536)])
def test_fast_hashes_are_within_two_bits_of_imagehashs_on_upscaled_photos(
    groceries: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    distances: Counter[int] = Counter()
    path = tmp_path / "large.jpg"
    for source in sorted(groceries.glob("*/*_001.jpg"))[::4]:
        with Image.open(source) as image:
            image.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        data = path.read_bytes()
        hashes = [open_and_hash(data, kind)[1] for kind in ("phash-luma256", "phash-imagehash")]
        distances[distance(*hashes)] += 1
    print(f"\nbits between the kinds, upscaled to {size}: {dict(sorted(distances.items()))}")
    assert max(distances) <= 2
