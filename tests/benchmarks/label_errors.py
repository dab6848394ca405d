"""Change some labels of real images and measure how well `eml suspects` finds them.

    OMP_NUM_THREADS=1 python tests/benchmarks/label_errors.py --images DIR --weights FILE --out FOLDER [--seed 0]
        [--ways untrained]

5 % of the labels become those of other classes, drawn at random. `eml suspects` then ranks the images, once by
embeddings of networks trained on the wrong labels, each embedding the images that it was not trained on (a short
recipe, three folds), and once by embeddings of the untrained network. Prints precision at the number of changed labels
and average precision over all images, also for other orders (other scores of the same votes, class centres), and the
number of suspects with the share whose label was changed. FOLDER/WAY/unchanged.csv lists the first images whose label
was not changed, for inspection. Files that exist in FOLDER are reused. Ten minutes of one core for grocery160, of which
the search for the errors takes a few seconds.

    OMP_NUM_THREADS=1 python tests/benchmarks/label_errors.py --drawn 60000

Prints the seconds of the search alone, on drawn embeddings of size 512, and the share of finding the neighbours.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table, write_table
from eml.retrieval.label_errors import LabelledEmbeddings, find_suspects, wrong_table
from eml.retrieval.label_errors.label_votes import collect_votes
from eml.training.out_of_fold import read_embedded

WAYS = ["untrained", "out-of-fold"]
RECIPE = {
    "recipe": "none",
    "image": {"size": 96, "fit": "squash", "interpolation": "bicubic"},
    "augment": {"type": "standard", "crop": 0.3, "flip": 0.5, "brightness": 0.2, "saturation": 0.2},
    "model": {"backbone": "mobilenetv2_100", "freeze": 3, "batch_norm": "frozen", "neck": {"type": "bnneck"}},
    "margin": {"type": "cosface", "m": 0.2},
    "head": {"scale": 12},
    "optimizer": {"name": "adamw", "lr": {"backbone": 1e-4, "neck": 1e-4, "class_weights": 1e-2}},
    "batch_size": 32,
    "validation": {"every": 1000},
}


def eml(*words: object) -> str:
    """Run a command and return its standard output."""
    command = [sys.executable, "-m", "eml", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def flipped(images: Path, share: float, seed: int, path: Path) -> Table:
    """Write the table with this share of the labels changed; the column true_label has the original ones."""
    scan = scan_folder(images, hashes=False)
    frame = scan.table
    random = np.random.default_rng(seed)
    classes = np.array(sorted(set(frame["label"])))
    rows = random.choice(len(frame), round(share * len(frame)), replace=False)
    true = frame["label"].to_numpy(str)
    wrong = true.copy()
    for row in rows:
        wrong[row] = random.choice(classes[classes != true[row]])
    return write_table(frame.assign(label=wrong, true_label=true), path, command="benchmark", root=scan.root)


def out_of_fold(table: Path, weights: Path, out: Path, epochs: int, seed: int) -> Path:
    """Train the folds and return the folder of the run."""
    run = out / "run"
    if not (run / "out_of_fold.npz").exists():
        eml("kfold", table, "--by", "images", "--k", 3, "--no-near", "--out", out)
        model = RECIPE["model"] | {"weights": str(weights)}  # type: ignore[operator]
        data = {"table": str(out / "folds.csv"), "cache": {"format": "raw", "folder": str(out / "cache")}}
        settings = RECIPE | {"output": str(run), "model": model, "data": data, "epochs": epochs, "seed": seed}
        config = out / "config.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        eml("train", config, "--fold", "all", "--resume")
    return run


def untrained(table: Table, weights: Path, path: Path) -> Path:
    """Write an .npz with the embeddings of the pretrained network."""
    from eml.inference.embed import embed_table
    from eml.inference.load import load

    if not path.exists():
        model = load("timm:mobilenetv2_100", weights=str(weights), image_size=160)
        embeddings = embed_table(model, table, table.frame).numpy()
        names = {name: table.frame[name].to_numpy(str) for name in ("file_name", "label")}
        np.savez(path, embeddings=embeddings, **names)
    return path


def measure(way: str, source: Path, table: Table, out: Path) -> None:
    """Print one line of the result; write unchanged.csv and the command's files."""
    eml("suspects", source, "--root", table.root, "--out", out / way)
    result = find_suspects(read_embedded(source, table.root)[2])
    frame = table.frame.set_index("file_name").loc[result.photos.file_names]
    changed = (frame["label"] != frame["true_label"]).to_numpy()
    number, errors = int(changed.sum()), result.errors
    first = errors.suspects(0.0)[:number]
    right = result.names[errors.suggested[first]] == frame["true_label"].to_numpy()[first]
    wrong_table(replace(result, wrong=first[~changed[first]])).to_csv(out / way / "unchanged.csv", index=False)
    listed = changed[result.wrong]
    print(
        f"| {way} | {number} | {scores_of(changed, errors.place)} | {right[changed[first]].mean():.3f} "
        f"| {len(listed)} | {listed.mean():.3f} | {listed.sum() / number:.3f} |",
        flush=True,
    )
    for name, score in {
        "odds alone": errors.score,
        "class centres alone": errors.toward,
        "difference of the shares": errors.other - errors.own,
        "own share alone": -errors.own,
    }.items():
        print(f"| {way}, {name} | {number} | {scores_of(changed, score)} | | | | |", flush=True)


def scores_of(changed: NDArray[np.bool_], score: NDArray[np.float64]) -> str:
    """Return precision at the number of changed labels, and average precision."""
    score = np.nan_to_num(score, nan=-np.inf)
    first = np.argsort(-score, kind="stable")[: changed.sum()]
    ranks = np.empty(len(score))  # ties by row, as in the list; average_precision_score accepts no infinities
    ranks[np.argsort(-score, kind="stable")] = np.arange(len(score), 0, -1)
    return f"{changed[first].mean():.3f} | {average_precision_score(changed, ranks):.3f}"


def drawn(number: int, size: int = 512, per_class: int = 10) -> None:
    """Print the seconds of the search and of its parts, on clouds of points with 5 % wrong labels."""
    random = np.random.default_rng(0)
    labels = np.arange(number) // per_class
    centres = random.normal(size=(number // per_class, size)).astype(np.float32)
    embeddings = torch.from_numpy(centres[labels] + random.normal(size=(number, size)).astype(np.float32))
    embeddings = torch.nn.functional.normalize(embeddings)
    wrong = random.choice(number, number // 20, replace=False)
    labels[wrong] = random.integers(0, len(centres), len(wrong))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    collect_votes(embeddings, labels)
    search = time.process_time() - started
    result = find_suspects(LabelledEmbeddings(embeddings, np.arange(number).astype(str), labels.astype(str)))
    whole = time.process_time() - started - search
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    listed = np.isin(result.wrong, wrong)
    print(
        f"{number:,} x {size}: {whole:.1f} s, of which the neighbours' votes {search:.1f} s; {len(listed):,} suspects, "
        f"{listed.sum():,} of {len(wrong):,} changed; peak memory {memory / 1024:.0f} MiB beyond the embeddings"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--drawn", type=int, help="number of drawn embeddings, to measure the time only")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    if options.drawn:
        drawn(options.drawn)
        return
    if not (options.images and options.weights and options.out):
        parser.error("--images, --weights and --out are needed")
    out, weights = options.out.absolute(), options.weights.absolute()
    out.mkdir(parents=True, exist_ok=True)
    table = flipped(options.images.absolute(), options.share, options.seed, out / "flipped.csv")
    assert table.path is not None
    sources = {}
    if "untrained" in options.ways:
        sources["untrained"] = untrained(table, weights, out / "untrained.npz")
    if "out-of-fold" in options.ways:
        sources["out of fold"] = out_of_fold(table.path, weights, out, options.epochs, options.seed)
    print("| embeddings | labels changed | precision at that number | average precision | right label suggested "
          "| suspects | share of them changed | share of the changed found |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for way, source in sources.items():
        measure(way, source, table, out)


if __name__ == "__main__":
    main()
