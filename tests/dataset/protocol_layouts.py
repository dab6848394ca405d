"""Miniature copies of the layouts of official protocols, drawn here: no image of them is in this repository."""

import pickle
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import io


def draw(path: Path, seed: int, size: tuple[int, int] = (40, 32)) -> None:
    """Write a small image of blurred noise, of the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


def cub200(root: Path) -> Path:
    """Classes 99 to 102, two images each; boxes with fractions, one beyond its image."""
    base = root / "CUB_200_2011"
    names = [f"{number:03}.Bird_{number}/Bird_{k:04}.jpg" for number in range(99, 103) for k in range(2)]
    for seed, name in enumerate(names):
        draw(base / "images" / name, seed)
    lines = list(enumerate(names, 1))
    (base / "images.txt").write_text("".join(f"{n} {name}\n" for n, name in lines))
    (base / "image_class_labels.txt").write_text("".join(f"{n} {int(name[:3])}\n" for n, name in lines))
    (base / "train_test_split.txt").write_text("".join(f"{n} {n % 2}\n" for n, _ in lines))
    (base / "bounding_boxes.txt").write_text("".join(f"{n} 4.5 2.0 {20.0 if n > 1 else 99.0} 10.2\n" for n, _ in lines))
    (base / "attributes").mkdir()
    return root


def _cars(field: str, rows: list[tuple[str, int]]) -> np.ndarray:
    kinds = [(name, object) for name in (field, "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")]
    return np.array([(name, 1, 1, 30, 20, number) for name, number in rows], dtype=kinds)


CAR_NAMES = np.array([f"Make Model {number} 2012" for number in range(1, 197)], dtype=object)


def cars196(root: Path) -> Path:
    """The layout of car_ims.tgz: classes 98 and 99, two images each."""
    rows = [(f"car_ims/{n:06}.jpg", 98 + n // 2) for n in range(4)]
    for seed, (name, _) in enumerate(rows):
        draw(root / name, seed)
    io.savemat(root / "cars_annos.mat", {"annotations": _cars("relative_im_path", rows), "class_names": CAR_NAMES})
    return root


def cars196_devkit(root: Path) -> Path:
    """The same images in the devkit's layout."""
    train, test = [("00001.jpg", 98), ("00002.jpg", 99)], [("00001.jpg", 98), ("00002.jpg", 99)]
    for seed, folder in enumerate(("cars_train", "cars_test")):
        for name, number in train:
            draw(root / folder / name, seed + number)
    (root / "devkit").mkdir()
    io.savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": _cars("fname", train)})
    io.savemat(root / "cars_test_annos_withlabels.mat", {"annotations": _cars("fname", test)})
    io.savemat(root / "devkit" / "cars_meta.mat", {"class_names": CAR_NAMES})
    return root


def sop(root: Path) -> Path:
    """Two products on each side."""
    for side, first in (("train", 1), ("test", 3)):
        lines = ["image_id class_id super_class_id path"]
        for number in (first, first + 1):
            for k in range(2):
                name = f"chair_final/{number}_{k}.JPG"
                draw(root / name, 10 * number + k)
                lines.append(f"{len(lines)} {number} 3 {name}")
        (root / f"Ebay_{side}.txt").write_text("\n".join(lines) + "\n")
    return root


SIDES = {"t": "train", "q": "query", "g": "gallery"}


def in_shop(root: Path) -> Path:
    """Two items to train on, two with a query and two images of the gallery."""
    lines = []
    for item, sides in (("1", "tt"), ("2", "tt"), ("3", "qgg"), ("4", "qgg")):
        for k, side in enumerate(sides):
            name = f"img/WOMEN/Dresses/id_0000000{item}/0{k}_1_front.jpg"
            draw(root / "Img" / name, 10 * int(item) + k)
            lines.append(f"{name}   id_0000000{item}   {SIDES[side]}")
    (root / "Eval").mkdir()
    head = f"{len(lines)}\nimage_name item_id evaluation_status\n"
    (root / "Eval" / "list_eval_partition.txt").write_text(head + "\n".join(lines) + "\n")
    return root


def inaturalist2018(root: Path) -> Path:
    """Two species on each side."""
    (root / "Inat_dataset_splits").mkdir()
    for side, first in (("train", 7), ("test", 9)):
        names = [f"train_val2018/Aves/{first + k // 2}/{k}.jpg" for k in range(4)]
        for seed, name in enumerate(names):
            draw(root / name, 100 * first + seed)
        (root / "Inat_dataset_splits" / f"Inaturalist_{side}_set1.txt").write_text("\n".join(names) + "\n")
    return root


def veri776(root: Path) -> Path:
    """Two vehicles on each side, seen by two cameras; the query images are in image_test too."""
    for folder, first in (("image_train", 1), ("image_test", 3), ("image_query", 3)):
        for number in (first, first + 1):
            for camera in (1, 2) if folder != "image_query" else (1,):
                draw(root / folder / f"{number:04}_c{camera:03}_0001645{camera}_0.jpg", 10 * number + camera)
    return root


def market1501(root: Path) -> Path:
    """Two persons on each side, a distractor, two images of no effect and a file that is no image."""
    for folder, numbers in (("bounding_box_train", ("0002", "0007")), ("bounding_box_test", ("0001", "0003"))):
        for number in numbers:
            for camera in (1, 2):
                draw(root / folder / f"{number}_c{camera}s1_00045{camera}_03.jpg", 10 * int(number) + camera)
    for number, name in enumerate(("0000_c1s1_000151_01.jpg", "-1_c1s1_000401_03.jpg", "-1_c2s1_000401_03.jpg")):
        draw(root / "bounding_box_test" / name, 900 + number)
    for number in (1, 3):
        draw(root / "query" / f"{number:04}_c1s1_001051_00.jpg", 500 + number)
    (root / "query" / "Thumbs.db").write_text("")
    return root


def lfw(root: Path) -> Path:
    """Two folds of one pair of a kind each, of three persons."""
    for name, count in (("Aaron_Eckhart", 2), ("Bob_Hope", 2), ("Cher", 1)):
        for number in range(1, count + 1):
            draw(root / "lfw" / name / f"{name}_{number:04}.jpg", 10 * len(name) + number)
    pairs = ["2\t1", "Aaron_Eckhart\t1\t2", "Aaron_Eckhart\t1\tCher\t1", "Bob_Hope\t1\t2", "Bob_Hope\t2\tCher\t1"]
    (root / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return root


def packed(records: list[bytes]) -> tuple[bytes, str]:
    """Return a .rec file and its .idx, as dmlc-core's writer makes them: data is cut at aligned magic numbers."""
    magic, file, index = struct.pack("<I", 0xCED7230A), bytearray(), ""
    for key, data in enumerate(records):
        index += f"{key}\t{len(file)}\n"
        cuts = [at for at in range(0, len(data) - 3, 4) if data[at : at + 4] == magic]
        start = 0
        for at in cuts:
            file += magic + struct.pack("<I", (1 if start == 0 else 2) << 29 | at - start) + data[start:at]
            start = at + 4
        rest = data[start:]
        file += magic + struct.pack("<I", (3 if cuts else 0) << 29 | len(rest)) + rest + bytes(-len(rest) % 4)
    return bytes(file), index


def face(seed: int) -> bytes:
    """Return the file of a small image."""
    buffer = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


def ms1m(root: Path) -> Path:
    """Two persons of two images each, one of which holds the magic number, and lfw.bin with two pairs."""
    odd = face(1)
    odd += bytes(-(len(odd) + 24) % 4) + struct.pack("<II", 0xCED7230A, 7) + b"end"  # after the image, aligned
    images = [struct.pack("<IfQQ", 0, float(n // 2), n, 0) + (odd if n == 1 else face(n)) for n in range(4)]
    images[3] = struct.pack("<IfQQ2f", 2, 0.0, 3, 0, 1.0, 0.0) + face(3)  # a label and an attribute
    head = struct.pack("<IfQQ2f", 2, 0.0, 0, 0, 5.0, 7.0)  # keys 1 to 4 are images, the others are persons
    persons = [struct.pack("<IfQQ2f", 2, 0.0, 0, 0, 1.0, 3.0)] * 2
    record, index = packed([head, *images, *persons])
    (root / "train.rec").write_bytes(record)
    (root / "train.idx").write_text(index)
    (root / "property").write_text("2,16,16")
    (root / "lfw.bin").write_bytes(pickle.dumps(([face(10), face(11), face(10), face(12)], [True, False]), 2))
    return root


def _ijb(root: Path, name: str) -> Path:
    """Three templates: 1 and 3 of one person, 2 of another; template 1 has a photograph and two frames of a video."""
    rows = [("1", "10"), ("1", "11"), ("1", "11"), ("2", "12"), ("3", "13")]
    points = "10.0 12.0 26.0 12.0 18.0 18.0 12.0 24.0 24.0 24.0"
    (root / "meta").mkdir()
    for number in range(1, 6):
        draw(root / "loose_crop" / f"{number}.jpg", number, (36, 36))
    named = list(enumerate(rows, 1))
    (root / "meta" / f"{name}_name_5pts_score.txt").write_text("".join(f"{n}.jpg {points} 0.{n}\n" for n, _ in named))
    (root / "meta" / f"{name}_face_tid_mid.txt").write_text("".join(f"{n}.jpg {t} {m}\n" for n, (t, m) in named))
    (root / "meta" / f"{name}_template_pair_label.txt").write_text("1 3 1\n1 2 0\n2 3 0\n")
    return root


def ijbb(root: Path) -> Path:
    """Return the layout of IJB-B."""
    return _ijb(root, "ijbb")


def ijbc(root: Path) -> Path:
    """Return the layout of IJB-C."""
    return _ijb(root, "ijbc")


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    layout.__name__: layout
    for layout in (cub200, cars196, sop, in_shop, inaturalist2018, veri776, market1501, lfw, ms1m, ijbb, ijbc)
}
"""Type of a protocol → the function that draws its layout into an empty folder and returns what a user gives."""
