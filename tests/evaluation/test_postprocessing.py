"""Post-processed metrics stand beside the plain ones, with the difference, and say what they use."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml import scan
from eml.dataset.column_map import ColumnMap
from eml.errors import ConfigError
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.postprocessing import short_names, what_it_uses
from eml.evaluation.runs import evaluate_models
from eml.evaluation.whitening import read_fit_table
from eml.retrieval.metrics import summarise
from eml.retrieval.pca import fit_pca
from eml.retrieval.ranking import rank
from eml.retrieval.reranking import rank_expanded, rank_reciprocal


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Embeddings of the images of a test set and of those of other classes."""
    random, paths = np.random.default_rng(0), []
    for number, name in enumerate(("test", "train")):
        labels = np.repeat(np.arange(12), 6)
        rows = random.standard_normal((12, 10))[labels] + random.standard_normal((72, 10)) * np.arange(1, 11) / 3
        paths.append(tmp_path / f"{name}.npz")
        names = np.array([f"{number}_{row}.jpg" for row in range(72)])
        np.savez(paths[-1], embeddings=rows, label=labels.astype(str), file_name=names)
    return paths[0], paths[1]


def test_each_way_is_measured_beside_the_model_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    test, train = files
    steps = {"augment_database": 2, "query_expansion": 3, "rerank": 6}
    options = EvaluationOptions([str(test)], out=tmp_path / "out", whiten=train, **steps)
    result = evaluate_models(options).results[0]
    rows, labels = np.load(test)["embeddings"], np.load(test)["label"]
    plain, itself = summarise(rank(rows, labels)), np.arange(72)
    assert result.metrics["map_at_r"] == plain.values["map_at_r"]
    white = fit_pca(np.load(train)["embeddings"]).transform(rows)
    expected = [
        rank(white, labels),
        rank_expanded(white, labels, white, labels, itself=itself, augment=2),
        rank_expanded(white, labels, white, labels, itself=itself, augment=2, expand=3),
        rank_reciprocal(white, labels, white, labels, itself=itself, k1=6),
    ]
    ways = result.analysis.postprocessed
    for way, rankings in zip(ways, expected, strict=True):
        value = summarise(rankings).values["map_at_r"]
        difference = way.differences["map_at_r"]
        assert (difference.before, difference.after) == pytest.approx((plain.values["map_at_r"], value))
        assert difference.interval.low <= difference.value <= difference.interval.high
    assert short_names(ways) == [
        "whitened",
        "then augmented by 2",
        "then expanded by 3",
        "whitened, re-ranked by 6",
    ]
    assert [way.uses_test_set for way in ways] == [False, True, True, True]
    facts = json.loads((tmp_path / "out" / "embeddings" / "metrics.json").read_text())
    assert facts["whitening"]["images_of_this_table"] == 0
    assert [way["name"] for way in facts["postprocessing"]] == [way.name for way in ways]


def test_a_table_of_the_users_own_to_learn_from_is_read_as_the_measured_one(tmp_path: Path) -> None:
    photos, tables = tmp_path / "photos", tmp_path / "tables"
    tables.mkdir()
    for label in ("x", "y"):
        (photos / label).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(photos / label / "a.png")
    own = tables / "own.csv"
    own.write_text("picture,product,fold\nx/a.png,p,0\ny/a.png,q,-2\n")
    columns = ColumnMap(file_column="picture", label_column="product")
    table = read_fit_table(own, root=photos, columns=columns)
    assert (table.frame["label"].tolist(), table.root) == (["p"], photos)
    scanned = scan(photos, out=tmp_path / "scanned").written[0]
    assert read_fit_table(scanned, root=tables, columns=columns).root == photos, "one that eml wrote knows its own"


def test_whitening_learnt_from_the_measured_images_is_said_to_use_them(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    options = EvaluationOptions([str(files[0])], out=tmp_path / "out", whiten=files[0])
    analysis = evaluate_models(options).results[0].analysis
    assert analysis.postprocessed[0].uses_test_set
    (line,) = what_it_uses(analysis.postprocessed, analysis.evaluation.whitening)
    assert "72 of them are in this table, so it uses the test set's own structure too" in line


def test_queries_are_post_processed_within_their_category(files: tuple[Path, Path], tmp_path: Path) -> None:
    arrays = dict(np.load(files[0]))
    shop = np.array(["one", "two"])[(np.arange(72) // 36)]
    np.savez(files[0], **arrays, shop=shop)
    options = EvaluationOptions(
        [str(files[0])], out=tmp_path / "out", within="shop", augment_database=2, query_expansion=50, rerank=50
    )
    ways = evaluate_models(options).results[0].analysis.postprocessed
    for part in (slice(0, 36), slice(36, 72)):
        rows, labels = arrays["embeddings"][part], arrays["label"][part]
        rankings = rank_reciprocal(rows, labels, rows, labels, itself=np.arange(36), k1=50)
        assert ways[2].summary.per_query["map_at_r"][part] == pytest.approx(summarise(rankings).per_query["map_at_r"])


def test_a_whitening_of_another_kind_than_the_model_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of an embeddings file one of the same model's embeddings"):
        EvaluationOptions([str(files[0])], out=tmp_path, whiten=tmp_path).check()
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        EvaluationOptions([str(files[0])], out=tmp_path, whiten=tmp_path / "no.npz").check()
