"""IJB-B and IJB-C in insightface's form: faces with five points, templates, pairs of templates."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from eml.dataset.problems import short_repr
from eml.dataset.protocols._lists import by_id, frame_of, read_words, refuse
from eml.dataset.protocols._unpacking import ImageFolder
from eml.dataset.protocols.base import ProtocolTables, TestSet, Work
from eml.errors import DataError, Problem
from eml.images.decode import ImageError, open_image, read
from eml.progress import Progress

SIDE = 112
POINTS = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Eyes, nose and corners of the mouth in an aligned face of 112 × 112, as MS1M's are (insightface, face_align.py)."""
WORDS = ("NAME", *(f"{axis}{number}" for number in range(1, 6) for axis in "XY"), "SCORE")


def layout_of(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the files of a set: its points, its templates, its pairs, and the folder of its images."""
    parts = ("name_5pts_score", "face_tid_mid", "template_pair_label")
    return (*((f"meta/{name}_{part}.txt",) for part in parts), ("loose_crop/",))


def ijb_tables(files: list[Path], work: Work) -> ProtocolTables:
    """Write aligned faces, and return their templates and the pairs of templates."""
    points, templates, pairs_file, images = files
    members = by_id(templates, read_words(templates, ("NAME", "TEMPLATE", "MEDIA")))
    faces = _points(points)
    if missing := [name for name in members if name not in faces]:
        refuse(points, [Problem(f"{points}: has no points of {name}", "not-a-table", "dataset") for name in missing])
    names, unreadable = _aligned(images, {name: faces[name][0] for name in members}, work)
    pairs = _pairs(pairs_file)
    person = _persons(pairs, sorted({template for template, _ in members.values()}))
    rows = [
        {"label": person[template], "file_name": names[name], "template": template, "media": media}
        | {"weight": f"{faces[name][1]:g}"}
        for name, (template, media) in members.items()
        if name in names
    ]
    notes = [f"the faces are aligned by their points and written into {work.images}"]
    notes.append("labels join the templates of same pairs: they are for the pairs alone")
    if unreadable:
        notes.append(f"{len(unreadable):,} images cannot be read and are left out, the first: {unreadable[0]}")
    test = TestSet("test", frame_of(rows, templates), pairs)
    return ProtocolTables(work.images, None, (test,), (points, templates, pairs_file), tuple(notes))


def similarity_to_points(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (2, 3), the map from an aligned face's pixels to those of the image, by least squares.

    It turns, scales and shifts the five points (5, 2) to `POINTS` (Umeyama 1991, eq. 40 to 42) and is then inverted.
    """
    centre, target = face.mean(0), POINTS.mean(0)
    u, values, v = np.linalg.svd((POINTS - target).T @ (face - centre) / len(face))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v)) or 1.0])
    turn = u @ np.diag(sign) @ v
    scale = float(values @ sign) / float(((face - centre) ** 2).sum() / len(face))
    inverse = turn.T / scale
    return np.column_stack([inverse, centre - inverse @ target])


def _points(source: Path) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Return name → (5, 2) points and the detector's score."""
    faces, problems = {}, []
    for name, *words in read_words(source, WORDS):
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            numbers = np.array([np.nan])
        points = numbers[:10].reshape(-1, 2) if len(numbers) == 11 else np.zeros((5, 2))
        if not np.isfinite(numbers).all() or not np.ptp(points, 0).any():
            text = f"{source}: {name} must have five points and a score, got {short_repr(' '.join(words))}"
            problems.append(Problem(text, "not-a-table", "dataset"))
            continue
        faces[name] = (points, float(numbers[-1]))
    refuse(source, problems)
    return faces


def _aligned(images: Path, faces: dict[str, NDArray[np.float64]], work: Work) -> tuple[dict[str, str], list[str]]:
    """Write each face aligned; return image → file written, and the images that cannot be read."""
    folder, names, unreadable = ImageFolder(work.images), dict[str, str](), list[str]()
    progress: Progress = work.progress
    with progress("aligning faces", len(faces)) as advance:
        for name, points in faces.items():
            written = f"{Path(name).stem}.jpg"
            if folder.has(written):
                names[name] = written
            else:
                try:
                    names[name] = folder.write(Path(name).stem, _align(images / name, points))
                except ImageError as error:
                    unreadable.append(f"{images / name}: {error.detail}")
            advance(1)
    return names, unreadable


def _align(path: Path, points: NDArray[np.float64]) -> bytes:
    """Return the JPEG of an aligned face. Raises ImageError."""
    image = open_image(read(path), path).image.convert("RGB")
    # Pillow's pixels have their centres at .5, those of the points at whole numbers.
    (a, b, c), (d, e, f) = similarity_to_points(points)
    shift = (a / -2 + b / -2 + c + 0.5, d / -2 + e / -2 + f + 0.5)
    face = image.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, (a, b, shift[0], d, e, shift[1]), Image.Resampling.BILINEAR
    )
    buffer = BytesIO()
    face.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _pairs(source: Path) -> pd.DataFrame:
    """Return the pairs of templates: millions, as whole numbers."""
    try:
        pairs = pd.read_csv(source, sep=r"\s+", header=None, dtype="int64", names=["template_1", "template_2", "same"])
    except (OSError, ValueError) as error:
        text = f"{source}: must have lines of TEMPLATE TEMPLATE 0 or 1: {error}"
        raise DataError(text, code="not-a-table", parameter="dataset") from error
    if pairs.empty or not pairs["same"].isin([0, 1]).all():
        text = f"{source}: must have lines of TEMPLATE TEMPLATE 0 or 1"
        raise DataError(text, code="not-a-table", parameter="dataset")
    return pairs


def _persons(pairs: pd.DataFrame, templates: list[str]) -> dict[str, str]:
    """Return template → a label, equal for templates that same pairs join."""
    parent = {template: template for template in templates}

    def root(template: str) -> str:
        while parent.setdefault(template, template) != template:
            parent[template] = parent[parent[template]]
            template = parent[template]
        return template

    same = pairs[pairs["same"] == 1]
    for first, second in zip(same["template_1"].astype(str), same["template_2"].astype(str), strict=True):
        parent[root(first)] = root(second)
    return {template: f"person {root(template)}" for template in templates}
