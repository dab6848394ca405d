"""The floors and parts of commands that commands.py measures; each runs in a process of its own.

    python tests/benchmarks/commands_parts.py PART WORK [ARGUMENT …]

It imports the eml of the PYTHONPATH, also an older one. A part that does not count its imports prints as its last line
{"seconds": processor seconds, …}; `commands.py` counts whole processes itself.
"""

import ctypes
import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from commands_inputs import BACKBONE, BATCH, EPOCHS, PHOTOS, SIDE, SMALL, clustered

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def keep_heap() -> None:
    """Raise glibc's thresholds, as eml does, so that a floor does not pay for a heap that shrinks."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-3, 2**30)
    mallopt(-1, 2**31 - 1)


def timed(work: Callable[[], Any], passes: int = 3) -> dict[str, Any]:
    """Return the median processor seconds of some calls, after one that warms up where there are several."""
    if passes > 1:
        work()
    seconds = []
    for _ in range(passes):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return {"seconds": float(np.median(seconds))}


def either(*places: str) -> Any:
    """Return what is at the first of these places that the imported version has."""
    for place in places:
        module, _, name = place.rpartition(".")
        with suppress(ImportError, AttributeError):
            return getattr(import_module(module), name)
    raise ImportError(f"none of {', '.join(places)}")


# -- embedding and evaluation ------------------------------------------------------------------------------------------


def decoded(work: Path, size: str = SMALL, count: int = 128) -> Any:
    """Return (N, H, W, 3) uint8 photos at the network's size."""
    import cv2

    paths = sorted((work / size).glob("*/*.jpg"))[:count]
    return np.stack([cv2.resize(cv2.imread(str(path))[..., ::-1], (SIDE, SIDE)) for path in paths])


def embed_eml(work: Path, precision: str = "float32") -> dict[str, Any]:
    """Time eml's embedding of decoded images."""
    import torch

    torch.set_num_threads(1)
    load = either("eml.inference.load.load", "eml.engine.evaluation.load_for_evaluation")
    options: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
    model = load(f"timm:{BACKBONE}", weights="none", image_size=SIDE, **options)
    images = list(decoded(work))
    return timed(lambda: model.embed(images, batch_size=64))


def bare_network() -> Any:
    """Return the network with random weights, and the function that prepares a batch (B, H, W, 3) of uint8."""
    import timm
    import torch

    torch.set_num_threads(1)
    network = timm.create_model(BACKBONE, num_classes=0).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))

    def prepare(pixels: Any) -> Any:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        return images.to(torch.float32, memory_format=torch.channels_last).div_(255).sub_(mean).div_(std)

    return network, prepare


def embed_floor(work: Path) -> dict[str, Any]:
    """Time a bare timm loop."""
    import torch
    from torch.nn.functional import normalize

    keep_heap()
    network, prepare = bare_network()
    network.eval()
    images = decoded(work)

    @torch.inference_mode()
    def embed() -> Any:
        return torch.cat([normalize(network(prepare(images[at : at + 64]))) for at in range(0, len(images), 64)])

    return timed(embed)


def opened(path: Path, side: int = SIDE) -> Any:
    """Return a photo at the network's size, by Pillow."""
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def evaluate_floor(work: Path) -> None:
    """Embed the photos of a folder in a bare loop and print R@1 of the nearest neighbours."""
    import torch
    from torch.nn.functional import normalize

    keep_heap()
    network, prepare = bare_network()
    network.eval()
    paths = sorted((work / SMALL).glob("*/*.jpg"))
    labels = np.array([path.parent.name for path in paths])
    with torch.inference_mode():
        parts = [
            normalize(network(prepare(np.stack([opened(path) for path in paths[at : at + 64]]))))
            for at in range(0, len(paths), 64)
        ]
        cosines = torch.cat(parts) @ torch.cat(parts).T
        nearest = cosines.fill_diagonal_(-2).topk(10).indices.numpy()
    print("R@1", float((labels[nearest[:, 0]] == labels).mean()))


def train_floor(work: Path) -> None:
    """Train with ArcFace in a bare loop: photos from files, cropped and mirrored, AdamW."""
    import torch
    from bare_arcface import bare_arcface
    from PIL import Image

    keep_heap()
    network, prepare = bare_network()
    network.train()
    paths = sorted((work / SMALL).glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    labels = torch.tensor([names.index(path.parent.name) for path in paths])
    weights = torch.nn.Parameter(torch.randn(len(names), network.num_features))
    optimizer = torch.optim.AdamW([*network.parameters(), weights], lr=1e-4, fused=True)
    random = np.random.default_rng(0)

    def read(path: Path) -> Any:
        image = Image.open(path).convert("RGB")
        width, height = image.size
        part = math.sqrt(random.uniform(0.7, 1))
        left, top = random.uniform(0, 1 - part, 2)
        box = (left * width, top * height, (left + part) * width, (top + part) * height)
        pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
        return pixels[:, ::-1] if random.random() < 0.5 else pixels

    for _ in range(EPOCHS):
        order = random.permutation(len(paths))
        for at in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[at : at + BATCH]
            own = labels[rows]
            embeddings = network(prepare(np.stack([read(paths[row]) for row in rows])))
            loss = bare_arcface(embeddings, weights, own, scale=32)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    print("loss", loss.item())


def start_floor(work: Path) -> None:
    """Import torch and timm, build the network and do one step."""
    import torch

    keep_heap()
    network, prepare = bare_network()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(prepare(np.zeros((2, 32, 32, 3), np.uint8))).square().mean().backward()
    optimizer.step()


# -- reads -------------------------------------------------------------------------------------------------------------


def dataset_of(work: Path, size: str, side: int, *, train: bool) -> tuple[Any, int]:
    """Return eml's dataset of the photos and their number, of this version or an older one."""
    from eml.images.crop import Crop
    from eml.images.preprocess import Preprocess

    Augmenter = either("eml.images.augment.Augmenter", "eml.images.augmenter.Augmenter")
    ImageDataset = either("eml.images.loading.ImageDataset", "eml.images.loading.Pictures")
    FileSource = either("eml.images.source.FileSource", "eml.images.files.Files")
    folder = work / size
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.jpg"))]
    preprocess = Preprocess(size=side, interpolation="bicubic")
    augmenter = Augmenter(crop=Crop(0.3, 1.2), flip=0.5) if train else None
    return ImageDataset(FileSource(folder, names), preprocess, augmenter=augmenter), len(names)


def reads_eml(work: Path, size: str, side: str, train: str) -> dict[str, Any]:
    """Time eml's reading of photos from files into batches."""
    dataset, count = dataset_of(work, size, int(side), train=train == "train")
    keys = [(1, row, row) for row in range(count)]

    def read() -> None:
        for at in range(0, count, 64):
            dataset.__getitems__(keys[at : at + 64])

    return timed(read) | {"images": count}


def decoder(size: str, least: float) -> Callable[[bytes], Any]:
    """Return simplejpeg's decoder, or OpenCV's where it is not installed; reduced as far as the short side allows."""
    import cv2

    short = min(PHOTOS[size][:2])
    try:
        import simplejpeg
    except ImportError:
        scale = next((by for by in (8, 4, 2) if short / by >= least), 1)
        flag = {1: cv2.IMREAD_COLOR, 2: 17, 4: 33, 8: 65}[scale]  # IMREAD_REDUCED_COLOR_2, 4, 8
        return lambda data: cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), flag), cv2.COLOR_BGR2RGB)
    side = math.ceil(least)
    return lambda data: simplejpeg.decode_jpeg(data, fastdct=True, min_height=side, min_width=side)


def reads_floor(work: Path, size: str, side: str, train: str) -> dict[str, Any]:
    """Time a bare reading: decode no larger than needed, cut, resize by OpenCV, mirror half, into one array."""
    import cv2

    cv2.setNumThreads(1)
    out, random = int(side), np.random.default_rng(0)
    decode = decoder(size, out / math.sqrt(0.7) if train == "train" else out)
    paths = sorted((work / size).glob("*/*.jpg"))

    def read() -> None:
        for at in range(0, len(paths), 64):
            batch = np.empty((min(64, len(paths) - at), out, out, 3), np.uint8)
            for place, path in enumerate(paths[at : at + 64]):
                pixels = decode(path.read_bytes())
                height, width = pixels.shape[:2]
                if train == "train":
                    part = math.sqrt(random.uniform(0.7, 1))
                    left, top = (int(value) for value in random.uniform(0, 1 - part, 2) * (width, height))
                    pixels = pixels[top : top + int(part * height), left : left + int(part * width)]
                how = cv2.INTER_AREA if min(pixels.shape[:2]) >= 2 * out else cv2.INTER_LINEAR
                pixels = cv2.resize(pixels, (out, out), interpolation=how)
                batch[place] = pixels[:, ::-1] if train == "train" and random.random() < 0.5 else pixels

    return timed(read) | {"images": len(paths)}


def hash_eml(work: Path, size: str) -> dict[str, Any]:
    """Time eml's inspection of files: read, decode, hash."""
    inspect_file = either("eml.dataset.scanning.inspect_file.inspect_file", "eml.dataset.inspection.inspect")
    folder = work / size
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.jpg"))]
    return timed(lambda: [inspect_file(folder, name, "phash-luma256") for name in names]) | {"images": len(names)}


def hash_floor(work: Path, size: str) -> dict[str, Any]:
    """Time the scan floor: read, digest of the bytes, grey scaled decode, resize and DCT by OpenCV."""
    from hashlib import blake2b

    import cv2

    cv2.setNumThreads(1)
    paths = sorted((work / size).glob("*/*.jpg"))
    scale = next((by for by in (8, 4, 2) if min(PHOTOS[size][:2]) // by >= 128), 1)
    flag = {1: cv2.IMREAD_GRAYSCALE, 2: 16, 4: 32, 8: 64}[scale]  # IMREAD_REDUCED_GRAYSCALE_2, 4, 8

    def scan() -> None:
        for path in paths:
            data = path.read_bytes()
            blake2b(data, digest_size=16).hexdigest()
            grey = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
            low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8]
            np.packbits(low > np.median(low)).tobytes().hex()

    return timed(scan) | {"images": len(paths)}


# -- retrieval ---------------------------------------------------------------------------------------------------------


def search_eml(work: Path, size: str, count: str) -> dict[str, Any]:
    """Time exact search with the usual metrics, leave-one-out."""
    import torch

    from eml.retrieval.metrics import all_metrics, summarise
    from eml.retrieval.metrics.recall_at_k import RecallAtK
    from eml.retrieval.ranking import rank

    torch.set_num_threads(1)
    rows, labels = clustered(int(count), int(size), int(count) // 5)
    metrics = [RecallAtK(k=(1, 10, 100, 1000)), *(metric for metric in all_metrics() if metric.type != "recall_at_k")]
    return timed(lambda: summarise(rank(torch.from_numpy(rows), labels), metrics), 1)


def search_floor(work: Path, size: str, count: str) -> dict[str, Any]:
    """Time faiss's flat search for the 1,000 nearest besides itself."""
    import faiss

    faiss.omp_set_num_threads(1)
    rows, _ = clustered(int(count), int(size), int(count) // 5)

    def search() -> None:
        index = faiss.IndexFlatIP(int(size))
        index.add(rows)
        index.search(rows, 1001)

    return timed(search, 1)


def import_floor(work: Path) -> None:
    """Import torch and pandas."""
    import pandas
    import torch

    print(pandas.__version__, torch.__version__)


def table_floor(work: Path, count: str) -> None:
    """Read a table with pandas and count its different hashes and files."""
    import pandas as pd

    frame = pd.read_csv(work / f"table-{count}.csv")
    print(len(np.unique(frame["hash"])), len(np.unique(frame["file_name"])))


def report_floor(work: Path) -> None:
    """Compare the hashes of a table in all pairs by NumPy."""
    import pandas as pd

    values = np.array([int(text, 16) for text in pd.read_csv(work / "many.csv")["hash"]], np.uint64)
    found = 0
    for row in range(0, len(values), 64):
        found += int((np.bitwise_count(values[row : row + 64, None] ^ values[row:]) <= 10).sum())
    print(found)


PARTS: dict[str, Callable[..., dict[str, Any] | None]] = {
    part.__name__: part
    for part in (
        *(embed_eml, embed_floor, evaluate_floor, train_floor, start_floor, reads_eml, reads_floor, hash_eml),
        *(hash_floor, search_eml, search_floor, import_floor, table_floor, report_floor),
    )
}


def main() -> None:
    """Run a part and print what it measured."""
    name, work, *rest = sys.argv[1:]
    if facts := PARTS[name](Path(work), *rest):
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
