"""How far does a damaged graph move embeddings, and does the proof see it? One number doubled, a channel, a tensor.

    python tests/benchmarks/export_damage.py CHECKPOINT TABLE [--count 20] [--images 24]

Exports a checkpoint as ONNX, spoils one weight at random each time, and compares with torch on images of the table.
Prints the least, median and largest difference of unit embeddings, and how many are seen by a least cosine of .9999
and by the limit of rounding. The first row is the sound graph.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

import eml
from eml.dataset.pipeline import table_to_evaluate
from eml.exporting.formats import FormatSettings
from eml.exporting.formats.onnx import Onnx
from eml.exporting.proof.agreement import largest_difference
from eml.exporting.proof.images import choose_images
from eml.exporting.proof.limits import FAITHFUL
from eml.exporting.proof.record import LEAST_COSINE
from eml.inference.embed import embed_table
from eml.inference.images import table_images


def damage(proto: onnx.ModelProto, kind: str, random: np.random.Generator) -> bytes:
    """Return a copy of a graph with one of its weights spoilt."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    weights = [weight for weight in copy.graph.initializer if weight.data_type == 1 and np.prod(weight.dims) > 16]
    weight = weights[random.integers(len(weights))]
    values = numpy_helper.to_array(weight).copy()
    if kind == "one number doubled":
        values.reshape(-1)[random.integers(values.size)] *= 2
    elif kind == "one channel x 1.1":
        values[random.integers(len(values))] *= 1.1
    elif kind == "one tensor x 1.01":
        values *= 1.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return bytes(copy.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("table", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--images", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = eml.load(arguments.checkpoint, device="cpu")
    images = choose_images(table_to_evaluate(arguments.table, None), count=arguments.images)
    reference = embed_table(model, images.table, images.frame)
    dataset = table_images(images.table, images.frame, model.preprocess)
    pixels = dataset.__getitems__([(0, row, row) for row in range(len(images))])[0].permute(0, 2, 3, 1).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        Onnx().write(model, path, FormatSettings())  # type: ignore[arg-type]
        proto = onnx.load(path)
    random = np.random.default_rng(0)
    print(f"{'damage':20}  {'least':>8} {'median':>8} {'largest':>8}  seen by cosine  seen by rounding")
    for kind in ("none", "one number doubled", "one channel x 1.1", "one tensor x 1.01"):
        count = 1 if kind == "none" else arguments.count
        found = []
        for _ in range(count):
            session = onnxruntime.InferenceSession(damage(proto, kind, random))
            embeddings = session.run(["embedding"], {"image": np.ascontiguousarray(pixels)})[0]
            found.append(largest_difference(reference, torch.from_numpy(embeddings)))
        cosines, moved = (np.array(values) for values in zip(*found, strict=True))
        seen = f"{(cosines < LEAST_COSINE).sum():>8} of {count:<3} {(moved > FAITHFUL).sum():>12} of {count}"
        print(f"{kind:20}  {moved.min():8.1e} {np.median(moved):8.1e} {moved.max():8.1e}  {seen}")


if __name__ == "__main__":
    main()
