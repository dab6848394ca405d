"""Shards in processes of their own that are killed at random moments: the bytes are those of one that is not."""

import multiprocessing
import os
import random
import shutil
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from tests.sharding.conftest import LONG_AGO

pytestmark = [pytest.mark.wide, pytest.mark.slow]
NETWORK = {"weights": "none", "image_size": 32, "batch_size": 7, "device": "cpu"}
COUNTS = (2, 5, 16)
MOST_KILLS = 6
"""Of one process: then it may end, so that a slow machine does not try for ever."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of images that take some time to read: not to be changed."""
    photos, noise = tmp_path_factory.mktemp("killed") / "photos", np.random.default_rng(0)
    for label in range(20):
        (photos / f"class {label}").mkdir(parents=True)
        for number in range(30):
            path = photos / f"class {label}" / f"{number}.png"
            Image.fromarray(noise.integers(0, 256, (120, 90, 3), np.uint8)).save(path)
            os.utime(path, (LONG_AGO, LONG_AGO))
    return Path(eml.scan(photos).written[0])


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eml.commands.shard_jobs.embed", "eml.commands.shard_jobs.evaluate", "timm"])
    return context


def call(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    getattr(eml, name)(*arguments, **options)


def killed_until_done(
    server: ForkServerContext, moments: random.Random, name: str, *arguments: Any, **options: Any
) -> int:
    """Run a command in a process that is killed at random moments until it ends; return how often it was killed."""
    for kills in range(MOST_KILLS + 1):
        process = server.Process(target=call, args=(name, arguments, options))
        process.start()
        process.join(None if kills == MOST_KILLS else moments.expovariate(1 / 0.6))
        if process.exitcode is None:
            process.kill()
            process.join()
            continue
        assert process.exitcode == 0
        return kills
    raise AssertionError("the last attempt is not killed")


def made_by(server: ForkServerContext, count: int, name: str, *arguments: Any, **options: Any) -> int:
    """Make all shards in a random order, each killed at random moments; return the number of kills."""
    moments = random.Random(count)
    order = moments.sample(range(count), count)
    return sum(
        killed_until_done(server, moments, name, *arguments, shards=count, shard=index, **options) for index in order
    )


def bytes_of(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: next(folder.glob(name)).read_bytes() for name in names}


CASES: dict[str, tuple[Callable[[Path, Path], tuple[tuple[Any, ...], dict[str, Any]]], tuple[str, ...]]] = {
    "scan": (
        lambda table, out: ((table.parent,), {"out": out, "hash_exact": True}),
        ("dataset_info.csv", "dataset_errors.csv", ".dataset_info.csv.eml-scan"),
    ),
    "embed": (
        lambda table, out: (("timm:test_resnet", table), {"out": out / "x.parquet", **NETWORK}),
        ("x.parquet",),
    ),
    "fill_cache": (
        lambda table, out: ((table,), {"folder": out, "side": 64}),
        ("images-*/header.json", "images-*/data.bin", "images-*/index.bin"),
    ),
    "evaluate": (
        lambda table, out: (("timm:test_resnet",), {"data": table, "out": out, "report": False, **NETWORK}),
        ("dataset_info/metrics.json",),
    ),
    "pack": (
        lambda table, out: ((table, out / "packed"), {"format": "tar", "shard_size": "1MB"}),
        ("packed/dataset_info.csv", "packed/eml-pack.json", "packed/data/*00000-of-*", "packed/data/*00007-of-*"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_shards_that_are_killed_at_random_merge_to_the_bytes_of_one(
    name: str, table: Path, tmp_path: Path, server: ForkServerContext
) -> None:
    of, names = CASES[name]
    arguments, options = of(table, tmp_path / "1")
    getattr(eml, name)(*arguments, shards=1, shard=0, **options)
    eml.merge_shards(tmp_path / "1")
    expected, kills = bytes_of(tmp_path / "1", names), 0
    for count in COUNTS:
        arguments, options = of(table, tmp_path / str(count))
        kills += made_by(server, count, name, *arguments, **options)
        eml.merge_shards(tmp_path / str(count))
        assert bytes_of(tmp_path / str(count), names) == expected, count
        shutil.rmtree(tmp_path / str(count))
    assert kills, "no process was killed, so nothing was tested"
    if name in ("scan", "fill_cache", "pack"):
        arguments, options = of(table, tmp_path / "whole")
        getattr(eml, name)(*arguments, **options)
        assert bytes_of(tmp_path / "whole", names) == expected
