"""Embeddings by another model are computed once, kept by content, and read again without that model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import eml
from eml.dataset.table import Table
from eml.errors import DataError
from eml.inference.embed import Batching
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.model import Model
from eml.training.reference_embeddings import (
    ReferenceEmbeddings,
    kept_reference_embeddings,
    reference_embeddings,
    reference_file,
)


@pytest.fixture(scope="module")
def model() -> Model:
    return eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")


def compute(model: Model, table: Table, frame: pd.DataFrame, folder: Path) -> ReferenceEmbeddings:
    return reference_embeddings(model, table, frame, folder, batching=Batching(4))


def test_rows_have_their_embeddings_in_order_and_are_computed_once(model: Model, table: Table, tmp_path: Path) -> None:
    frame = table.frame.iloc[10:0:-1]
    first = compute(model, table, frame, tmp_path)
    expected = model.embed([table.root / name for name in frame["file_name"]], batch_size=4)
    assert np.array_equal(first.embeddings.numpy(), expected)
    assert (first.computed, first.reused, first.digest) == (10, 0, model.fingerprint.digest)
    again = compute(model, table, table.frame, tmp_path)
    assert (again.computed, again.reused) == (20, 10), "only what was not there"
    assert torch.equal(again.embeddings[1:11].flip(0), first.embeddings)


def test_they_are_read_without_the_model_where_all_are_kept(model: Model, table: Table, tmp_path: Path) -> None:
    digest = model.fingerprint.digest
    whole = compute(model, table, table.frame, tmp_path / "kept")
    kept = kept_reference_embeddings(digest, model.size, table, table.frame, tmp_path / "kept")
    assert kept is not None
    assert torch.equal(kept.embeddings, whole.embeddings)
    assert (kept.computed, kept.reused) == (0, len(table.frame))
    assert kept_reference_embeddings(digest, model.size, table, table.frame, tmp_path) is None
    assert kept_reference_embeddings("0" * 32, model.size, table, table.frame, tmp_path / "kept") is None
    compute(model, table, table.frame.iloc[:5], tmp_path / "part")
    assert kept_reference_embeddings(digest, model.size, table, table.frame, tmp_path / "part") is None


def test_a_work_that_was_broken_off_goes_on_where_it_was(model: Model, table: Table, tmp_path: Path) -> None:
    @contextmanager
    def broken_off(description: str, total: int | None = None) -> Iterator[object]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if description.startswith("embedding") and done >= 12:
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        reference_embeddings(
            model,
            table,
            table.frame,
            tmp_path / "broken",
            batching=Batching(4),
            progress=broken_off,  # type: ignore[arg-type]
        )
    rest = compute(model, table, table.frame, tmp_path / "broken")
    assert rest.reused == 12
    assert torch.equal(rest.embeddings, compute(model, table, table.frame, tmp_path / "whole").embeddings)


def test_a_run_waits_while_another_one_adds_to_the_same_file(
    model: Model, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.training.reference_embeddings.WAIT", 0.01)
    file = reference_file(tmp_path, model.fingerprint.digest)
    notes: list[str] = []
    with ExitStack() as held:
        held.enter_context(EmbeddingStore(model.fingerprint.digest, model.size).kept_in(file))

        def heard(line: str) -> None:
            notes.append(line)
            held.close()

        frame = table.frame.iloc[:4]
        waited = reference_embeddings(model, table, frame, tmp_path, batching=Batching(4), report=heard)
    assert waited.computed == 4
    assert [line.partition(": ")[2] for line in notes] == [
        "another run adds embeddings of the same model; waiting for its end"
    ]


def test_a_damaged_file_costs_only_what_it_lost(model: Model, table: Table, tmp_path: Path) -> None:
    whole = compute(model, table, table.frame, tmp_path)
    file = reference_file(tmp_path, model.fingerprint.digest)
    file.write_bytes(file.read_bytes()[:-50])
    notes: list[str] = []
    again = reference_embeddings(model, table, table.frame, tmp_path, batching=Batching(4), report=notes.append)
    assert (again.computed, again.reused) == (2, 28)
    assert "cut or damaged" in notes[0]
    assert torch.equal(again.embeddings, whole.embeddings)


def test_an_image_without_an_embedding_is_an_error_that_names_it(model: Model, table: Table, tmp_path: Path) -> None:
    frame = pd.concat([table.frame, pd.DataFrame({"label": ["c0"], "file_name": ["c0/gone.png"], "fold": [1]})])
    with pytest.raises(DataError, match=r"1 of its images cannot be embedded: .*c0/gone\.png") as caught:
        compute(model, table, frame, tmp_path)
    assert caught.value.code == "unreadable-image"
