"""eml's embedding of decoded images against a bare timm loop and onnxruntime, in turns, in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/embedding_rate.py --images grocery160/images --weights FILE

The images are decoded and resized before. From there on each contender makes batches of them, normalises, runs the
network and returns embeddings of unit length, float32, on the CPU. The bare loop is written by hand, in torch's usual
memory format and in channels_last; eml is `embed_table`, the way of all commands, and `Model.embed` of a list of
arrays. onnxruntime runs the backbone that torch.onnx exports, always in float32. Prints images per processor second,
and the median of the ratios to the faster bare loop of the same turn. `--precision bfloat16` measures all others in it.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import pandas as pd
import timm
import torch
from torch.nn.functional import normalize

import eml
from eml.dataset.table import Table
from eml.images.decode import decode
from eml.inference.embed import Batching, embed_table
from eml.inference.model import Model

BARE = ("bare timm", "bare timm, channels_last")


class DecodedImages:
    """An image source of images that are decoded and of the network's size."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def whole(self, row: int, side: int) -> np.ndarray:
        return self.pixels[row]


def read_images(folder: Path, count: int, model: Model) -> np.ndarray:
    side = model.preprocess.size
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))[:count]
    return np.stack([model.preprocess(decode(path, at_least=(side, side))) for path in paths])


def bare_loop(options: argparse.Namespace, model: Model, pixels: np.ndarray, *, channels_last: bool) -> Callable:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    overlay = {"file": str(options.weights)}
    network = timm.create_model(options.backbone, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
    network = network.to(model.device, memory_format=layout).eval()
    mean, std = (
        torch.tensor(value, device=model.device).view(1, 3, 1, 1)
        for value in (model.preprocess.mean, model.preprocess.std)
    )
    low = options.precision == "bfloat16"

    @torch.inference_mode()
    def embed() -> torch.Tensor:
        parts = []
        for first in range(0, len(pixels), options.batch):
            batch = torch.from_numpy(pixels[first : first + options.batch]).permute(0, 3, 1, 2).to(model.device)
            images = batch.to(torch.float32, memory_format=layout).div_(255).sub_(mean).div_(std)
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=low):
                features = network(images)
            parts.append(normalize(features.float()).cpu())
        return torch.cat(parts)

    return embed


def onnx_loop(options: argparse.Namespace, model: Model, pixels: np.ndarray, folder: Path) -> Callable:
    side, file = model.preprocess.size, folder / "backbone.onnx"
    backbone = model.embedder.backbone.cpu().to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(2, 3, side, side)
        dynamic = {"pixels": {0: "batch"}}
        torch.onnx.export(backbone, (example,), file, dynamo=False, input_names=["pixels"], dynamic_axes=dynamic)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    mean, std = (np.float32(value).reshape(1, 3, 1, 1) for value in (model.preprocess.mean, model.preprocess.std))

    def embed() -> torch.Tensor:
        parts = []
        for first in range(0, len(pixels), options.batch):
            batch = pixels[first : first + options.batch].transpose(0, 3, 1, 2)
            images = np.ascontiguousarray((batch / np.float32(255) - mean) / std)
            (features,) = session.run(None, {"pixels": images})
            parts.append(features / np.linalg.norm(features, axis=1, keepdims=True))
        return torch.from_numpy(np.concatenate(parts))

    return embed


def load(options: argparse.Namespace) -> Model:
    name, side = f"timm:{options.backbone}", options.side
    return eml.load(name, weights=options.weights, image_size=side, precision=options.precision)


def contenders(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], torch.Tensor]]:
    model = load(options)
    pixels = read_images(options.images, options.count, model)
    table = Table(pd.DataFrame({"label": "a", "file_name": [f"{row}.png" for row in range(len(pixels))]}), folder)
    source, batching, arrays = DecodedImages(pixels), Batching(options.batch), list(pixels)
    loops = {
        BARE[0]: bare_loop(options, model, pixels, channels_last=False),
        BARE[1]: bare_loop(options, model, pixels, channels_last=True),
        "eml embed_table": lambda: embed_table(model, table, table.frame, batching=batching, source=source),
        "eml Model.embed": lambda: torch.from_numpy(model.embed(arrays, batch_size=options.batch)),
    }
    return loops | {"onnxruntime float32": onnx_loop(options, load(options), pixels, folder)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loops = contenders(options, Path(folder))
        times: dict[str, list[float]] = {name: [] for name in loops}
        results = {name: loop() for name, loop in loops.items()}  # warms up too
        for turn in range(options.rounds):
            for name in list(loops)[:: 1 if turn % 2 else -1]:
                started = time.process_time()
                loops[name]()
                times[name].append(time.process_time() - started)
    report(options, times, results)


def report(options: argparse.Namespace, times: dict[str, list[float]], results: dict[str, torch.Tensor]) -> None:
    reference = min(BARE, key=lambda name: median(times[name]))
    count, threads = len(results[reference]), torch.get_num_threads()
    print(
        f"{options.backbone}, {options.side} px, {count} images, batches of {options.batch}, {options.precision}, "
        f"{threads} threads, {options.rounds} rounds, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    )
    for name, seconds in times.items():
        ratio = median(own / bare for own, bare in zip(seconds, times[reference], strict=True))
        cosine = (results[name] * results[reference]).sum(1).min()
        print(f"{name:26} {count / median(seconds):7.1f} images/s   {ratio:.3f} × bare   cosine to it ≥ {cosine:.5f}")


if __name__ == "__main__":
    main()
