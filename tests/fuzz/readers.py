"""Every reader of a file that a user may have from elsewhere, and what it may do with any bytes in that file."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from eml.commands.split import SplitConfig
from eml.config import load
from eml.dataset.columns import BOX
from eml.dataset.scanning.inspect_file import inspect_file
from eml.dataset.scanning.records import ScanRecords
from eml.dataset.scanning.scan_cache import ScanCache
from eml.dataset.sidecar import sources, written_by_eml
from eml.dataset.table import check_outputs, read_columns, read_file_names, read_table, write_table
from eml.evaluation.outputs import check_outputs as check_results
from eml.files import digest
from eml.images.cache.fill import fill
from eml.images.cache.settings import CacheSettings
from eml.images.cache.store import caches
from eml.images.decode import decode
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource
from eml.inference.embedding_store import EmbeddingStore, key_of
from eml.inference.embeddings_file import read_embeddings, write_embeddings
from eml.models.calibration import read_calibration
from eml.models.checkpoint import load_checkpoint, read_trained_on, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.linear import Linear
from eml.models.pointers import find_checkpoint, point
from eml.models.trained_on import trained_on
from eml.reports.curves import MADE_BY, check_runs, draw_curves
from eml.reports.own_plots import refuse_plot
from eml.reports.run_logs import find_best, find_questions
from eml.retrieval.verification.pairs import read_pairs
from eml.training.config import RunConfig
from eml.training.out_of_fold import read_embedded
from eml.training.run_folder import STATE_VERSION, RunFolder

MODEL = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=8))
NAMES = [f"{label}/{number}.png" for label in "abc" for number in range(4)]
FRAME = pd.DataFrame({"label": [name[0] for name in NAMES], "file_name": NAMES})
LFW = ["a/a_0001.jpg", "a/a_0002.jpg", "b/b_0002.jpg"]
SCAN_ROOT = "photos"


@dataclass(frozen=True)
class Reader:
    """A file of the dataset folder that `make_dataset` makes, and a function of that folder which reads it."""

    file: str
    read: Callable[[Path], Any]

    def __str__(self) -> str:
        return self.file.replace("/", "-")


def make_dataset(folder: Path) -> Path:
    """Write images, tables, a cache, a run with a checkpoint, and files of embeddings and pairs; return the folder."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = folder / SCAN_ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(path)
        os.utime(path, (1e9, 1e9))  # else a scan does not trust its time
    root = folder / SCAN_ROOT
    sizes = FRAME.assign(width=10, height=12, fold=[0, 1, 0, 1] * 3)
    write_table(sizes, folder / "t.csv", command="eml kfold", root=root)
    write_table(sizes, folder / "t.parquet", command="eml kfold", root=root, inputs=[folder / "t.csv"])
    embeddings = torch.from_numpy(rng.standard_normal((12, 4)).astype(np.float32))
    (folder / "cv").mkdir()
    for path in (folder / "e.npz", folder / "cv" / "out_of_fold.npz"):
        write_embeddings(path, embeddings, FRAME, fold=sizes["fold"].to_numpy())
    with EmbeddingStore("a" * 32, 4).kept_in(folder / "x.eml-embed") as store:
        for first in range(0, 12, 3):
            store.add([key_of(bytes([first + row]) * 16) for row in range(3)], embeddings[first : first + 3].numpy())
    np.save(folder / "e.npy", embeddings.numpy())
    FRAME.assign(embedding=list(embeddings.numpy())).to_parquet(folder / "e.parquet")
    (folder / "cv" / "folds.json").write_text(
        json.dumps({"root": str(root), "folder": str(folder / "cv"), "folds": {}})
    )
    pairs = pd.DataFrame({"file_name_1": NAMES[:3], "file_name_2": NAMES[1:4], "same": 1, "fold": 0})
    pairs.to_csv(folder / "pairs.csv", index=False)
    (folder / "pairs.txt").write_text("1 1\na 1 2\na 1 b 2\n")
    (folder / "override.txt").write_text("epochs=2")
    (folder / "config.yaml").write_text("output: run\ndata: {table: t.csv, fold: 0}\nimage: {size: 32}\nepochs: 1\n")
    (folder / "split.yaml").write_text("dataset: photos\nby: ratio\n")
    fill(folder / "cache", CacheSettings("images", 8, "bicubic"), FileSource(root, NAMES))
    _make_run(folder)
    scanned = ScanRecords(NAMES, None)
    for position, name in enumerate(NAMES):
        scanned.put(position, inspect_file(root, name, None))
    ScanCache(folder / "scan.csv", root, None, print).finish(scanned, read=len(NAMES))
    return folder


def _make_run(folder: Path) -> None:
    torch.manual_seed(0)
    run, network = folder / "run", build_embedder(MODEL, 32)
    checkpoint = run / "checkpoints" / "epoch-001"
    record = trained_on("abc", np.arange(5, dtype=np.uint64))
    save_checkpoint(checkpoint, network, MODEL, Preprocess(size=32), list("abc"), {"map_at_r": 0.5}, trained_on=record)
    point(run / "checkpoints" / "best", checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    backbone = {name.removeprefix("backbone."): tensor for name, tensor in weights.items() if "backbone." in name}
    torch.save(backbone, folder / "w.pth")
    save_file(backbone, folder / "w.safetensors")
    (checkpoint / "calibration.json").write_text(json.dumps(_calibration(checkpoint)))
    (run / "run.json").write_text(json.dumps({"versions": {}, "table": {"path": "t.csv"}, "validations": {}}))
    (run / "steps.jsonl").write_text("".join(json.dumps({"step": n, "loss": 1.5}) + "\n" for n in range(3)))
    for log in ("metrics", "timings"):
        lines = [{"epoch": n, "step": n, "map_at_r": 0.5} for n in range(2)]
        (run / f"{log}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parts = {key: {"x": torch.ones(2)} for key in ("config", "training", "embedder", "head", "optimizer", "scaler")}
    RunFolder(run).save_state({"version": STATE_VERSION, "table": "", "random_states": [], **parts})
    results = run / "evaluations" / "t"
    results.mkdir(parents=True)
    (results / "metrics.json").write_text(json.dumps({"checkpoint": "run", "metrics": {}}))
    (results / "report.html").write_text('<html><meta name="generator" content="eml 1">')
    draw_curves(run)


def _calibration(checkpoint: Path) -> dict[str, Any]:
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    return {
        **{"eml_version": "1", "created": "", "weights_digest": digest(checkpoint / "model.safetensors")},
        **{"goal": "far", "goal_value": 0.1, "strict": False, "threshold": rate, "plain_threshold": 0.5},
        **{"measured": {"far": rate}, "held_out": [0.1], "held_out_mean": 0.1, "confidence": 0.95, "seed": 1},
        **{"resamples": 1, "table": None, "table_digest": None, "protocol": "", "counts": {}, "notes": []},
        **{"histogram_edges": [], "histogram_same": [], "histogram_different": []},
    }


def read_any_table(path: Path) -> None:
    """Read a table as the commands do, and as the lists of `exclude` and errors are read."""
    table = read_table(path, check_files=True)
    list(sources(path))
    written_by_eml(path)
    check_outputs([path])
    assert set(table.frame.columns) >= {"label", "file_name"}
    assert set(BOX) <= set(table.frame.columns) or not set(BOX) & set(table.frame.columns)


def read_lists(path: Path) -> None:
    read_file_names(path)
    read_columns(path, ["label"])


def read_scan(folder: Path) -> None:
    records = ScanRecords(NAMES, None)
    ScanCache(folder / "scan.csv", folder / SCAN_ROOT, None, lambda line: None).load(records, lambda count: None)
    records.table()
    records.problems()
    list(records.settled(range(len(NAMES))))


def read_cache(folder: Path) -> None:
    settings, files = CacheSettings("images", 8, "bicubic"), FileSource(folder / SCAN_ROOT, NAMES)
    caches(folder / "cache")
    source = fill(folder / "cache", settings, files).source
    for row in range(len(NAMES)):
        assert source.whole(row, (8, 8)).shape[2] == 3


def read_run(folder: Path) -> None:
    run = folder / "run"
    check_runs([run], "map_at_r")
    find_best(run, "map_at_r")
    find_questions(run)
    for log in ("steps", "metrics", "timings"):
        RunFolder(run).read(log)


def note_changes(folder: Path) -> None:
    find_questions(folder / "run")
    config = RunConfig.model_validate({"output": folder / "x", "data": {"table": folder / "t.csv", "fold": 0}})
    RunFolder(folder / "run").note_changes(config, 1, ["a"])


def read_state(folder: Path) -> None:
    RunFolder(folder / "run").refuse_not_resumable()
    RunFolder(folder / "run").load_state()


def read_checkpoint(folder: Path) -> None:
    checkpoint = load_checkpoint(folder / "run")
    assert checkpoint.embedder.size == 8
    assert all(isinstance(label, str) for label in checkpoint.labels)
    read_trained_on(folder / "run")


def start_from(folder: Path, name: str) -> None:
    build_embedder(MODEL.model_copy(update={"weights": folder / name}), 32)


def override(folder: Path) -> None:
    text = (folder / "override.txt").read_bytes().decode("utf-8", "surrogateescape")
    load(RunConfig, folder / "config.yaml", [text])


CHECKPOINT = "run/checkpoints/epoch-001"


def read_store(folder: Path) -> None:
    store = EmbeddingStore("a" * 32, 4)
    with store.kept_in(folder / "x.eml-embed"):
        keys = [key for row in range(12) if (key := key_of(bytes([row]) * 16)) in store]
        assert store.take(keys).isfinite().all()


READERS = [
    Reader("t.csv", lambda folder: read_any_table(folder / "t.csv")),
    Reader("t.csv", lambda folder: read_lists(folder / "t.csv")),
    Reader("t.parquet", lambda folder: read_any_table(folder / "t.parquet")),
    Reader("t.parquet.eml.json", lambda folder: read_any_table(folder / "t.parquet")),
    Reader(".scan.csv.eml-scan", read_scan),
    Reader("config.yaml", lambda folder: load(RunConfig, folder / "config.yaml")),
    Reader("override.txt", override),
    Reader("split.yaml", lambda folder: load(SplitConfig, folder / "split.yaml")),
    Reader(f"{CHECKPOINT}/config.json", read_checkpoint),
    Reader(f"{CHECKPOINT}/config.json", lambda folder: start_from(folder, "run")),
    Reader(f"{CHECKPOINT}/labels.json", read_checkpoint),
    Reader(f"{CHECKPOINT}/metrics.json", read_checkpoint),
    Reader(f"{CHECKPOINT}/trained_images.bin", read_checkpoint),
    Reader(f"{CHECKPOINT}/model.safetensors", read_checkpoint),
    Reader(f"{CHECKPOINT}/model.safetensors", lambda folder: start_from(folder, "run")),
    Reader(f"{CHECKPOINT}/calibration.json", lambda folder: read_calibration(folder / CHECKPOINT)),
    Reader("w.pth", lambda folder: start_from(folder, "w.pth")),
    Reader("w.safetensors", lambda folder: start_from(folder, "w.safetensors")),
    Reader("run/checkpoints/best", lambda folder: find_checkpoint(folder / "run")),
    Reader("run/run.json", note_changes),
    Reader("run/steps.jsonl", read_run),
    Reader("run/metrics.jsonl", read_run),
    Reader("run/timings.jsonl", read_run),
    Reader("run/state.pt", read_state),
    Reader("run/curves.png", lambda folder: refuse_plot(folder / "run/curves.png", MADE_BY, "out", overwrite=False)),
    *(
        Reader(
            f"run/evaluations/t/{name}", lambda f: check_results([f / "run/evaluations/t"], embeddings=True, page=True)
        )
        for name in ("metrics.json", "report.html")
    ),
    Reader("e.npz", lambda folder: read_embeddings(folder / "e.npz")),
    Reader("e.npy", lambda folder: read_embeddings(folder / "e.npy", read_table(folder / "t.csv"))),
    Reader("e.parquet", lambda folder: read_embeddings(folder / "e.parquet")),
    Reader("x.eml-embed", read_store),
    Reader("cv/folds.json", lambda folder: read_embedded(folder / "cv")),
    Reader("cv/out_of_fold.npz", lambda folder: read_embedded(folder / "cv")),
    *(Reader(f"cache/*/{name}", read_cache) for name in ("header.json", "index.bin", "data.bin")),
    *(
        Reader(name, lambda folder, name=name: read_pairs(folder / name, [*NAMES, *LFW], folder / SCAN_ROOT))
        for name in ("pairs.csv", "pairs.txt")
    ),
    Reader(f"{SCAN_ROOT}/a/0.png", lambda folder: decode(folder / SCAN_ROOT / "a/0.png")),
]
