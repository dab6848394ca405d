"""Measure whether texts find images of characters that no training has seen, by a small CLIP trained with their names.

    OMP_NUM_THREADS=1 python tests/benchmarks/contrastive_text.py --work DIR [--only NAME …] [--seeds 0 1 2]
    python tests/benchmarks/contrastive_text.py --report

The images are the letters of eml demo's fonts, 16 of each, drawn as eml demo draws its characters. The text of a letter
is its Unicode name, such as "greek small letter alpha with tonos". A fifth of the letters, each word of whose names is
also in names of others, is held out. Both towers begin at random: a convolutional one of timm, and a transformer of one
layer with open_clip's vocabulary. `shuffled` has the names permuted among the letters that are trained on.

A run is one JSON file in --results, and a run whose file is there is not made again. It takes about two minutes of one
core.
"""

import argparse
import json
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.tiny_clip
RESULTS = Path(__file__).parent / "results" / "contrastive_text"
SIDE, EPOCHS, RATE, BATCH = 64, 6, 3e-3, 128
WAYS: dict[str, dict[str, Any]] = {
    "batch": {"negatives": "batch"},
    "all": {"negatives": "all"},
    "shuffled": {"negatives": "batch"},
}
CLIP = {
    "embed_dim": 64,
    "vision_cfg": {
        "timm_model_name": "test_resnet",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": SIDE,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def drawn(work: Path) -> pd.DataFrame:
    """Draw the letters that all fonts have, once; return the table of their images, unseen letters in fold 0."""
    from matplotlib.ft2font import FT2Font

    from eml.demo_data.demo import class_name, draw_images, font_files

    fonts = [set(FT2Font(str(file)).get_charmap()) for file in font_files().values()]
    letters = [chr(code) for code in sorted(set.intersection(*fonts)) if code < 0x2100]
    letters = [letter for letter in letters if unicodedata.category(letter) in ("Lu", "Ll")]
    if not (work / "images").exists():
        draw_images(work / "images", characters=letters, copies=1)
    names = {class_name(letter): unicodedata.name(letter).lower() for letter in letters}
    unseen = held_out(names)
    return pd.DataFrame(
        {"label": label, "file_name": f"{label}/{file.name}", "text": text, "fold": 0 if label in unseen else 1}
        for label, text in names.items()
        for file in sorted((work / "images" / label).glob("*.png"))
    )


def held_out(names: dict[str, str]) -> set[str]:
    """Return a fifth of the labels, each word of whose names stays in the names of two others at least."""
    labels = np.random.default_rng(0).permutation(sorted(names)).tolist()
    counts = Counter(word for text in names.values() for word in set(text.split()))
    unseen: set[str] = set()
    for label in labels:
        words = set(names[label].split())
        if len(unseen) < len(labels) // 5 and all(counts[word] >= 3 for word in words):
            unseen.add(label)
            counts.subtract(words)
    return unseen


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rows with the texts permuted among the letters that are trained on."""
    labels = sorted(frame.loc[frame["fold"] == 1, "label"].unique())
    texts = frame.drop_duplicates("label").set_index("label")["text"]
    order = np.random.default_rng(seed).permutation(labels)
    permuted = dict(zip(labels, texts[order], strict=True))
    return frame.assign(text=frame["label"].map(permuted).fillna(frame["text"]))


def train(way: str, seed: int, frame: pd.DataFrame, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one way; return the figures."""
    import eml
    from eml.dataset.table import write_table
    from tests.tiny_clip import write_tiny_clip

    folder = options.work / f"{way}-{seed}"
    rows = shuffled(frame, seed) if way == "shuffled" else frame
    table = write_table(rows, folder / "folds.csv", command="benchmark", root=options.work / "images", overwrite=True)
    unseen = write_table(
        frame[frame["fold"] == 0], folder / "unseen.csv", command="benchmark", root=table.root, overwrite=True
    )
    clip = write_tiny_clip(folder / f"clip-{time.time_ns()}", seed, CLIP)
    config = {
        "output": str(folder / "run"),
        "recipe": "none",
        "data": {"table": str(table.path), "cache": "raw"},
        "image": {"size": SIDE},
        "augment": {"type": "light"},
        "model": {"backbone": f"open_clip:local-dir:{clip}"},
        "loss": {"type": "contrastive_text", **WAYS[way]},
        "class_texts": {"column": "text"},
        "optimizer": {"lr": {"backbone": RATE}},
        "epochs": options.epochs,
        "batch_size": BATCH,
        "validation": {"every": options.epochs},
        "seed": seed,
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    started = time.process_time()
    eml.train(folder / "config.yaml", overwrite=True)
    seconds = time.process_time() - started
    measured = eml.evaluate(
        folder / "run" / "checkpoints" / "last", data=unseen.path, text_column=["text"], out=folder / "evaluation"
    )
    (evaluation,) = measured.to_dict()["evaluations"]
    figures = {"text": evaluation["text"]["captions"], "images": evaluation["metrics"]}
    return {"way": way, "seed": seed, "epochs": options.epochs, "seconds": seconds, **figures}


def report(results: Path) -> None:
    """Print a row for each run: R@1 with its interval, and that of chance."""
    print("| names | seed | text → image R@1 | image → text R@1 | chance | images alone, R@1 | processor time |")
    print("|---|---|---|---|---|---|---|")
    for file in sorted(results.glob("*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        text = run["text"]
        cells = [_with_interval(text[key]) for key in ("text_to_image", "image_to_text")]
        chance, images = text["text_to_image"]["chance"]["recall_at_1"], run["images"]["recall_at_1"]
        cells += [f"{chance:.3f}", f"{images:.3f}", "" if run["seconds"] is None else f"{run['seconds']:.0f} s"]
        print(f"| {run['way']} | {run['seed']} | {' | '.join(cells)} |")


def _with_interval(direction: dict[str, Any]) -> str:
    low, high = direction["intervals"]["recall_at_1"]
    return f"{direction['metrics']['recall_at_1']:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Make the runs that are not there yet, or print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("contrastive_text"), help="folder for images and runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--report", action="store_true", help="print what --results holds")
    options = parser.parse_args()
    if not options.report:
        options.work.mkdir(parents=True, exist_ok=True)
        options.results.mkdir(parents=True, exist_ok=True)
        frame = drawn(options.work)
        for seed in options.seeds:
            for way in options.only:
                file = options.results / f"{way}-{seed}.json"
                if not file.exists():
                    file.write_text(json.dumps(train(way, seed, frame, options), indent=1))
    report(options.results)


if __name__ == "__main__":
    main()
