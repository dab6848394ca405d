"""Measure whether the probability of an answer and "unknown" hold, as a user would meet them, on grocery160.

    python tests/benchmarks/answers_grocery.py --images grocery160/images --weights FILE --out DIR [--seeds 0 1 2]
        [--folds] [--reuse] [--splits 0] [--far 0.05] [--side 128]

Of 81 classes 50 are trained on (half of each one's images), 10 calibrate, and 71 are indexed with half of their images:
those 60 and 11 more. The other half of the 71 and all images of the 10 that are not indexed are classified. One line a
draw of classes: share of right answers and of refused ones among known classes, share of accepted ones among unknown
classes beside the promise with its interval for 10 classes, calibration error with its interval over classes, estimated
share of unknown ones; then the bins of at least 200 answers that are off the diagonal.

--folds: all 71 classes are trained on instead, with three folds by class, and calibrated by these. --reuse takes the
trained checkpoints that are in DIR. --splits N also draws the 31 classes that were not trained on anew, N times, with
the same network: what a promise is worth shows over many sets.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import eml
from eml.config import load as load_config
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table, write_table
from eml.evaluation.gallery_calibration import calibrate_gallery
from eml.inference.embed import embed_table
from eml.inference.model import Model
from eml.retrieval.answer_calibration import AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import LabelledImages, sample_gallery
from eml.retrieval.answers.reliability import expected_error, reliability_bins
from eml.retrieval.answers.samples import SCORINGS
from eml.retrieval.class_answers import answer_by_classes
from eml.training.config import RunConfig
from eml.training.cross_validation import fit_folds
from eml.training.fit import fit

TRAINED, CALIBRATED, NEW, FOLDS, FEW = 50, 10, 11, 3, 200


@dataclass(frozen=True)
class Draw:
    """A draw of classes, in the order trained, calibrated, new, not indexed."""

    frame: pd.DataFrame
    classes: np.ndarray
    half: np.ndarray

    def rows(self, first: int, end: int | None, half: bool | None = None) -> np.ndarray:
        inside = self.frame["label"].isin(self.classes[first:end]).to_numpy()
        return np.flatnonzero(inside if half is None else inside & (self.half == half))

    def again(self, split: int) -> "Draw":
        rest = np.random.default_rng(split).permutation(self.classes[TRAINED:])
        return Draw(self.frame, np.concatenate([self.classes[:TRAINED], rest]), self.half)


def draw(frame: pd.DataFrame, seed: int) -> Draw:
    classes = np.array(sorted(set(frame["label"])))
    order = np.random.default_rng(seed).permutation(len(classes))
    chance, half = np.random.default_rng(100 + seed).random(len(frame)), np.zeros(len(frame), bool)
    for _, group in frame.groupby("label"):
        half[group.index[np.argsort(chance[group.index])[: len(group) // 2]]] = True
    return Draw(frame, classes[order], half)


def train(part: pd.DataFrame, root: Path, out: Path, options: argparse.Namespace, seed: int, folds: bool) -> None:
    """Train on a part of the images; with folds, a network for each fold too, in OUT/folds."""
    if options.reuse and (out / "run").is_dir() and (not folds or (out / "folds" / "out_of_fold.npz").is_file()):
        return
    out.mkdir(parents=True, exist_ok=True)
    path = write_table(part, out / "train.csv", command="benchmark", root=root, overwrite=True).path
    values = {
        "output": str(out / "run"),
        "data": {"table": str(path), "fold": None},
        "model": {"weights": str(options.weights)},
        "image": {"size": options.side},
        "validation": {"every": 1000},
        "seed": seed,
    }
    (out / "config.yaml").write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    config = load_config(RunConfig, out / "config.yaml", [])
    fit(config, Table(part, root, path), overwrite=True)
    if folds:
        table = Table(part, root, path)
        fit_folds(config.model_copy(update={"output": out / "folds"}), table, overwrite=True)


def embedded(model: Model, drawn: Draw, root: Path, file: Path, *, reuse: bool) -> torch.Tensor:
    if not (reuse and file.is_file()):
        np.save(file, embed_table(model, Table(drawn.frame, root), drawn.frame).numpy())
    return torch.from_numpy(np.load(file))


def report(
    name: str, drawn: Draw, embeddings: torch.Tensor, answers: AnswerCalibration, names: list[str], codes: np.ndarray
) -> None:
    indexed = TRAINED + CALIBRATED + NEW
    index, known, unknown = drawn.rows(0, indexed, True), drawn.rows(0, indexed, False), drawn.rows(indexed, None)
    queries = np.concatenate([known, unknown])
    found = answer_by_classes(
        embeddings[queries],
        [(embeddings[index], codes)],
        len(names),
        answers.method,
        temperature=answers.temperature,
    )
    is_known = np.arange(len(queries)) < len(known)
    truth = drawn.frame["label"].to_numpy(str)[queries]
    right = is_known & (np.array(names)[found.best] == truth)
    classes, even = np.unique(truth, return_inverse=True)[1], np.ones(len(queries))
    chance, refused = answers.probabilities(found)[0], answers.unknown(found)
    error = expected_error(chance, right, even, classes)
    low, high = answers.false_accept_interval(len(drawn.classes) - indexed)
    rate = float((~refused[~is_known]).mean())
    print(
        f"| {name} | {answers.method} {answers.temperature:g} | {right[is_known].mean():.3f} | "
        f"{refused[is_known].mean():.3f} | {rate:.3f} {'' if low <= rate <= high else '(outside)'} | "
        f"{answers.false_accepts.value:.3f} ({low:.3f} … {high:.3f}) | "
        f"{error.value:.3f} ({error.interval.low:.3f} … {error.interval.high:.3f}) | "
        f"{answers.estimate_unknown_share(found):.3f} of {1 - is_known.mean():.3f} |",
        flush=True,
    )
    for bin_ in reliability_bins(chance, right, even, classes):
        if bin_.answers >= FEW and bin_.is_off:
            print(f"    off: {bin_.low:g}… mean {bin_.probability:.3f}, right {bin_.right.value:.3f} of {bin_.answers}")


def measure(seed: int, frame: pd.DataFrame, options: argparse.Namespace) -> None:
    drawn, out = draw(frame, seed), options.out / f"{'folds' if options.folds else 'new'}-{seed}"
    indexed = TRAINED + CALIBRATED + NEW
    part = frame.iloc[drawn.rows(0, indexed if options.folds else TRAINED, True)].reset_index(drop=True)
    if options.folds:
        order = {label: place % FOLDS for place, label in enumerate(drawn.classes)}
        part = part.assign(fold=part["label"].map(order).astype(int))
    train(part, options.images, out, options, seed, options.folds)
    goal = {"far": options.far, "unknown_share": options.unknown_share, "device": "cpu"}
    if options.folds:
        eml.calibrate(str(out / "run"), from_folds=out / "folds", root=options.images, **goal)
    else:
        rows = frame.iloc[drawn.rows(TRAINED, TRAINED + CALIBRATED)].reset_index(drop=True)
        table = write_table(rows, out / "calibrate.csv", command="benchmark", root=options.images, overwrite=True)
        eml.calibrate(str(out / "run"), data=table.path, **goal)
    model = eml.load(out / "run", device="cpu")
    embeddings = embedded(model, drawn, options.images, out / "embeddings.npy", reuse=options.reuse)
    labels = frame["label"].to_numpy(str)
    index = drawn.rows(0, indexed, True)
    names, codes = np.unique(labels[index], return_inverse=True)
    trained = model.trained_on.classes if model.trained_on else ()
    assert model.folder is not None
    assert model.calibration is not None
    answers = calibrate_gallery(
        model.folder, model.calibration, lambda: [(embeddings[index], codes)], names.tolist(), trained
    )
    assert answers is not None
    report(f"{seed}", drawn, embeddings, answers, names.tolist(), codes)
    for split in range(1, 1 + (0 if options.folds else options.splits)):
        again = drawn.again(split)
        index, spare = again.rows(0, indexed, True), again.rows(TRAINED, TRAINED + CALIBRATED)
        names, codes = np.unique(labels[index], return_inverse=True)
        calibration = LabelledImages(embeddings[spare], labels[spare].tolist())
        samples = sample_gallery(calibration, [(embeddings[index], codes)], names.tolist(), trained, SCORINGS)
        answers = fit_answers(samples, far=options.far, unknown_share=options.unknown_share, gallery="index")
        report(f"{seed}, split {split}", again, embeddings, answers, names.tolist(), codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", action="store_true")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--splits", type=int, default=0)
    parser.add_argument("--far", type=float, default=0.05)
    parser.add_argument("--unknown-share", type=float, default=0.2)
    parser.add_argument("--side", type=int, default=128)
    options = parser.parse_args()
    frame = scan_folder(options.images, hashes=False, workers=1).table.reset_index(drop=True)
    print("| draw | scoring | right | refused | accepted unknown | promised | calibration error | unknown share |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        measure(seed, frame, options)


if __name__ == "__main__":
    main()
