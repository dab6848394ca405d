"""A trained model in every precision that `eml export` writes, beside torch and `eml embed`, in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/export.py RUN --data TABLE --images 600

All files are made of one export. MAP@R is measured on the same images of unseen classes with the paired 95 % interval
to the checkpoint; int8 is calibrated on images that the run was trained on. Milliseconds per image are of one thread,
one image at a time, all contenders in turns: the median and the quickest of the rounds, since other work on the machine
only ever adds to them. `eml embed` reads and decodes its images too. Prints Markdown.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch

import eml
from eml.dataset.table import read_table
from eml.exporting.formats import FormatSettings, find_format
from eml.exporting.formats.openvino import convert
from eml.exporting.onnx_file import write_onnx
from eml.exporting.precision.choose import ways_of
from eml.exporting.precision.float16 import to_float16
from eml.exporting.precision.images import QuantizationImages, load_images
from eml.exporting.proof.agreement import compare_embeddings
from eml.exporting.proof.images import choose_images
from eml.inference.exported.openvino_xml import weights_path
from eml.inference.exported.runtimes.openvino import compile_model
from eml.inference.model import Model

Embed = Callable[[np.ndarray], np.ndarray]
"""(B, H, W, 3) uint8 → (B, D)."""


def by_onnx(path: Path) -> Embed:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["embedding"], {"image": pixels})[0]


def by_openvino(path: Path) -> Embed:
    compiled = compile_model(path, 1)
    return lambda pixels: np.array(compiled(pixels)[0])


def by_torch(model: Model) -> Embed:
    return lambda pixels: model.embed_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()


def size_of(path: Path) -> int:
    files = [path, weights_path(path)] if path.suffix == ".xml" else [path]
    return sum(file.stat().st_size for file in files)


def written(model: Model, images: QuantizationImages, folder: Path) -> dict[str, tuple[Path, Embed]]:
    """Write every file, from one export."""
    source = folder / "float32.onnx"
    write_onnx(model, source, input="uint8", opset=20)
    files = {"onnxruntime float32": source}
    files["onnxruntime float16"] = folder / "float16.onnx"
    to_float16(source, files["onnxruntime float16"])
    for number, way in enumerate(ways_of(source, images, "uint8", model.preprocess, dynamic=True)):
        path = folder / f"int8_{number}.onnx"
        way.write(source, path)
        files[f"onnxruntime int8 {way.name}"] = path
    opened = {name: (path, by_onnx(path)) for name, path in files.items()}
    for name, own, halves in (
        ("float32", "onnxruntime float32", False),
        ("float16", "onnxruntime float32", True),
        ("int8 static, clipped", "onnxruntime int8 static, clipped", False),
    ):
        path = folder / f"openvino_{name[:7].strip()}.xml"
        convert(files[own], path, halves=halves)
        opened[f"OpenVINO {name}"] = (path, by_openvino(path))
    path = folder / "program.pt2"
    form = find_format("torch", path)
    form.write(model, path, FormatSettings())
    program = torch.export.load(path).module()
    opened["torch.export float32"] = (path, lambda pixels: program(torch.from_numpy(pixels)).detach().numpy())
    return opened


def main(run: str, data: Path, count: int, rounds: int) -> None:
    torch.set_num_threads(1)
    model = eml.load(run, device="cpu")
    proof = choose_images(read_table(data), count=count)
    images = load_images(model, run, None, proof, report=print)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        opened = written(model, images, folder)
        paths = [proof.table.root / name for name in proof.frame["file_name"]]
        times: dict[str, list[float]] = {name: [] for name in ("torch (checkpoint)", *opened)}
        contenders = {"torch (checkpoint)": by_torch(model)} | {name: embed for name, (_, embed) in opened.items()}
        for embed in contenders.values():
            embed(images.proof[:1])
        for turn in range(rounds):
            for name, embed in contenders.items():
                pixels = images.proof[turn % len(images.proof)][None]
                start = time.perf_counter()
                embed(pixels)
                times[name].append(1000 * (time.perf_counter() - start))
        begin = time.perf_counter()
        eml.embed(run, paths, out=folder / "e.npz", device="cpu", workers=0)
        whole = 1000 * (time.perf_counter() - begin) / len(proof)
        print(f"\n{len(proof):,} images of {proof.classes} classes, {rounds} rounds of one image\n")
        print("| | MB | MAP@R | change, 95 % | least cosine | mean cosine | ms, median | ms, quickest |")
        print("|---|---|---|---|---|---|---|---|")
        checkpoint = size_of(Path(model.folder or run) / "model.safetensors")
        for name, embed in contenders.items():
            parts = [embed(part) for part in np.split(images.proof, range(16, len(images.proof), 16))]
            agreement = compare_embeddings(images.reference, torch.from_numpy(np.concatenate(parts)), images.retrieval)
            metric = agreement.metrics["map_at_r"]
            interval = "—" if metric.alike else f"{metric.difference:+.4f} ({metric.low:+.4f} to {metric.high:+.4f})"
            size = checkpoint if name not in opened else size_of(opened[name][0])
            print(
                f"| {name} | {size / 1e6:.1f} | {metric.exported:.4f} | {interval} | {agreement.cosine.min():.4f} | "
                f"{agreement.cosine.mean():.5f} | {median(times[name]):.1f} | {min(times[name]):.2f} |",
                flush=True,
            )
        print(f"\n`eml embed`, reading and decoding included: {whole:.1f} ms per image")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    main(options.run, options.data, options.images, options.rounds)
