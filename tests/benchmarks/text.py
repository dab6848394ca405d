"""Measure what class texts bring on unseen classes: a start, an anchor and language guidance, beside shuffled names.

    OMP_NUM_THREADS=1 python tests/benchmarks/text.py --data DIR --weights FILE --encoder DIR [--only NAME …]
    python tests/benchmarks/text.py --report

DIR has grocery160 and emoji unpacked; FILE has mobilenetv2_100's weights, --encoder is a folder of
sentence-transformers. Every second class trains, the others are measured leave-one-out. Texts are the names of the
folders of grocery160, and of emoji the Unicode names of the code points that name the folders. A run that is
`shuffled` has the texts permuted among the training classes, by its seed. Without the check (`check: false`) a run
keeps texts that say nothing, which shows what the check is for.

`--length long` trains all layers, on larger images and for longer: the results are beside the short ones.

A run is one JSON file in --results, and a run whose file is there is not made again: stop whenever you like, and go on
with the same command.
"""

import argparse
import json
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
SETS = ("grocery160", "emoji")
SIDES = {"short": {"grocery160": 64, "emoji": 48}, "long": {"grocery160": 96, "emoji": 64}}
EPOCHS = {"short": {"grocery160": 2, "emoji": 3}, "long": {"grocery160": 3, "emoji": 6}}
FROZEN = {"short": 5, "long": 0}
"""Stages of the backbone that are not trained."""
SCALES = {"grocery160": 10, "emoji": 18}
"""2·√2·ln(classes−1), as the recipe has it."""
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "init": {"head.init": {"type": "text"}},
    "anchor": {"text": {"type": "anchor"}},
    "guidance": {"text": {"type": "language_guidance"}},
}


@dataclass(frozen=True)
class Run:
    """A set, a way to use texts with overrides of its settings, and a seed."""

    dataset: str
    way: str
    seed: int = 0
    shuffled: bool = False
    check: bool = True
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its result."""
        marks = ["shuffled"] if self.shuffled else []
        marks += [] if self.check else ["unchecked"]
        return "-".join([self.dataset, self.way, *marks, *self.overrides, str(self.seed)])


def planned() -> Iterator[Run]:
    """Yield the runs of the report, the first seed first."""
    for seed in SEEDS:
        for dataset in SETS:
            yield from (Run(dataset, way, seed) for way in WAYS)
            yield from (Run(dataset, way, seed, True, False) for way in WAYS if way != "none")
            yield Run(dataset, "guidance", seed, True)


# -- the images and their texts ----------------------------------------------------------------------------------------


def root_of(data: Path, dataset: str) -> Path:
    """Return the folder of a set's classes."""
    return next(path for path in (data / dataset / dataset / "images", data / dataset / "images") if path.is_dir())


def scanned(dataset: str, options: argparse.Namespace) -> pd.DataFrame:
    """Return the table of all images of a set, kept in --work."""
    from eml.dataset.scanning.scan import scan_folder

    path: Path = options.work / f"{dataset}.table.pkl"
    if not path.exists():
        frame = scan_folder(root_of(options.data, dataset), hashes=False, workers=1).table.reset_index(drop=True)
        frame.to_pickle(path)
    return pd.read_pickle(path)


def text_of(dataset: str, label: str) -> str:
    """Return the text of a class: a folder's name, or the Unicode names of an emoji's code points."""
    if dataset != "emoji":
        return label.replace("-", " ")
    names = [unicodedata.name(chr(int(code, 16)), "") for code in label[1:].split("_")]
    return " ".join(name.lower() for name in names if name and name not in ("ZERO WIDTH JOINER",)) or label


def vectors_file(run: Run, labels: list[str], options: argparse.Namespace) -> Path:
    """Return the file of the text vectors of the training classes, permuted among them in a shuffled run."""
    from eml.texts.vectors import EncoderFacts, TextVectors, write_text_vectors

    whole: Path = options.work / f"{run.dataset}.texts.npz"
    if not whole.exists():
        from sentence_transformers import SentenceTransformer

        every = sorted(scanned(run.dataset, options)["label"].unique())
        encoder = SentenceTransformer(str(options.encoder), device="cpu")
        vectors = encoder.encode([text_of(run.dataset, label) for label in every], normalize_embeddings=True)
        np.savez(whole, labels=np.array(every), vectors=vectors)
    stored = np.load(whole)
    known = dict(zip(stored["labels"].tolist(), stored["vectors"], strict=True))
    sources = labels
    if run.shuffled:
        sources = [labels[place] for place in np.random.default_rng([run.seed, 21]).permutation(len(labels))]
    path: Path = options.work / f"{run.dataset}-{'shuffled' if run.shuffled else 'plain'}-{run.seed}.safetensors"
    texts = tuple((text_of(run.dataset, source),) for source in sources)
    facts = EncoderFacts(name=f"st:{options.encoder.name}", digest="0" * 32)
    vectors = np.stack([known[source] for source in sources])
    write_text_vectors(path, TextVectors(tuple(labels), vectors, texts, facts))
    return path


# -- one run -----------------------------------------------------------------------------------------------------------


def measured(embeddings: Any, labels: "pd.Series[str]") -> dict[str, Any]:
    """Return MAP@R and R@1, also of each class in alphabetical order, with the number of its queries."""
    import torch

    from eml.retrieval.metrics.base import summarise
    from eml.retrieval.ranking import rank

    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    summary = summarise(rank(torch.from_numpy(np.asarray(embeddings, np.float32)), codes))
    counted = np.isfinite(summary.per_query["map_at_r"])
    queries = np.bincount(codes[counted], minlength=codes.max() + 1)
    sums = np.bincount(codes[counted], summary.per_query["map_at_r"][counted], minlength=len(queries))
    values = {name: round(summary.values[name], 5) for name in ("map_at_r", "recall_at_1")}
    return values | {"queries": queries.tolist(), "by_class": np.round(sums / np.maximum(queries, 1), 4).tolist()}


def settings(run: Run, table: Path, output: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the config of a run."""
    config: dict[str, Any] = {
        "output": str(output),
        "recipe": "none",
        "data": {"table": str(table), "root": str(root_of(options.data, run.dataset)), "fold": None, "workers": 0,
                 "cache": {"format": "raw", "folder": str(options.work)}},
        "image": {"size": SIDES[options.length][run.dataset], "fit": "squash", "interpolation": "bicubic"},
        "augment": {"type": "standard", "crop": 0.3, "flip": 0.5, "brightness": 0.2, "saturation": 0.2},
        "model": {"backbone": "mobilenetv2_100", "weights": str(options.weights), "freeze": FROZEN[options.length],
                  "batch_norm": "frozen", "neck": {"type": "bnneck"}},
        "margin": {"type": "cosface", "m": 0.2},
        "head": {"scale": SCALES[run.dataset]},
        "optimizer": {"lr": {"backbone": 1e-4, "neck": 1e-4, "class_weights": 1e-2}},
        "epochs": EPOCHS[options.length][run.dataset],
        "batch_size": 32,
        "seed": run.seed,
        "device": "cpu",
    }  # fmt: skip
    for key, value in WAYS[run.way].items():
        place = config
        *outer, last = key.split(".")
        for part in outer:
            place = place[part]
        place[last] = dict(value) | ({} if run.check else {"check": False})
        for override in run.overrides:
            name, _, number = override.partition("=")
            place[last][name] = float(number)
    return config


def train(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Train, and return the settings, the facts and the metrics on the classes that were not trained on."""
    import torch

    from eml.dataset.table import Table, write_table
    from eml.inference.embed import embed_table
    from eml.inference.load import load
    from eml.training.config import RunConfig
    from eml.training.data import table_to_train_on
    from eml.training.events import Event, Note
    from eml.training.fit import fit

    torch.set_num_threads(1)
    frame, root = scanned(run.dataset, options), root_of(options.data, run.dataset)
    unseen = frame["label"].isin(sorted(frame["label"].unique())[1::2])
    notes: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    started = time.process_time()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        table = write_table(frame[~unseen], Path(folder) / "train.csv", command="benchmark", root=root)
        values = settings(run, table.path, Path(folder) / "run", options)
        if run.way != "none":
            labels = sorted(frame["label"][~unseen].unique())
            values["class_texts"] = {"vectors": str(vectors_file(run, labels, options))}
        config = RunConfig.model_validate(values)
        fit(config, table_to_train_on(config.data), observe=observe)
        model = load(config.output, device="cpu")
        rows = frame[unseen].reset_index(drop=True)
        embeddings = embed_table(model, Table(rows, root), rows).numpy()
        facts = json.loads((config.output / "run.json").read_text())
    used = {key: values.get(key) for key in ("text", "head", "epochs")}
    return {
        "run": run.name,
        "settings": used,
        "class_texts": facts.get("class_texts"),
        "notes": [note for note in notes if note.startswith("class texts")],
        "seconds": round(time.process_time() - started, 1),
        **measured(embeddings, rows["label"]),
    }


# -- the report --------------------------------------------------------------------------------------------------------


def stored(results: Path, run: Run) -> dict[str, Any] | None:
    """Return the result of a run; None where it is not made yet."""
    path = results / f"{run.name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def compared(results: Path, run: Run) -> tuple[list[float], list[float]]:
    """Return MAP@R of a way's seeds, and the differences to none of each class, seeds averaged."""
    values, differences = [], []
    for seed in SEEDS:
        own, none = (stored(results, replace(base, seed=seed)) for base in (run, Run(run.dataset, "none")))
        if own is None or none is None:
            continue
        values.append(own["map_at_r"])
        measured_classes = np.array(own["queries"]) > 0
        differences.append((np.array(own["by_class"]) - np.array(none["by_class"]))[measured_classes])
    return values, (np.mean(differences, axis=0).tolist() if differences else [])


def interval(differences: list[float], draws: int = 10_000) -> tuple[float, float, float]:
    """Return the mean over classes and the ends of its 95% interval, by bootstrap over classes."""
    rows = np.array(differences)
    means = rows[np.random.default_rng(0).integers(0, len(rows), (draws, len(rows)))].mean(1)
    return float(rows.mean()), *map(float, np.quantile(means, [0.025, 0.975]))


def report(results: Path) -> None:
    """Print a table of the ways, with the paired difference to none over classes."""
    print("| set | texts | seeds | MAP@R | by class, difference to none (95%) |\n|---|---|---|---|---|")
    for dataset in SETS:
        for run in dict.fromkeys(replace(run, seed=0) for run in planned() if run.dataset == dataset):
            values, differences = compared(results, run)
            if not values:
                continue
            name = run.name.removeprefix(f"{dataset}-").removesuffix("-0").replace("-", ", ")
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            text = "" if run.way == "none" else "{:+.4f} ({:+.4f} to {:+.4f})".format(*interval(differences))
            print(f"| {dataset} | {name} | {len(values)} | {np.mean(values):.4f}{spread} | {text} |")


def main() -> None:
    """Make the runs that are still to be made, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the unpacked sets")
    parser.add_argument("--weights", type=Path, help="file with mobilenetv2_100's weights")
    parser.add_argument("--encoder", type=Path, help="folder of a model of sentence-transformers")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "eml-text-benchmark")
    parser.add_argument("--length", choices=list(SIDES), default="short")
    parser.add_argument("--results", type=Path, help="default: those of the length beside this file")
    parser.add_argument("--only", nargs="*", default=[], help="make only runs whose names begin so")
    parser.add_argument("--report", action="store_true", help="make no run")
    options = parser.parse_args()
    options.results = options.results or RESULTS / {"short": "text", "long": "text_long"}[options.length]
    options.work.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    for run in [] if options.report else planned():
        is_chosen = not options.only or run.name.startswith(tuple(options.only))
        if not is_chosen or stored(options.results, run) is not None:
            continue
        result = train(run, options)
        (options.results / f"{run.name}.json").write_text(json.dumps(result) + "\n")
        print(run.name, result["map_at_r"], f"{result['seconds']} s", flush=True)
    report(options.results)


if __name__ == "__main__":
    main()
