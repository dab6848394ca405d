"""Text encoders of sentence-transformers."""

import json
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from eml.errors import CheckpointError, ConfigError
from eml.texts.encoders import check_encoder, find_encoder
from eml.texts.encoders import sentence_transformers as module


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"st: needs sentence-transformers: pip install 'easy-metric-learning\[text\]'"
    ):
        check_encoder("st:all-MiniLM-L6-v2")


def test_a_name_that_is_neither_a_folder_nor_cached_says_what_to_do_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"'no-such-model' is no folder and not in the cache, .* HF_HUB_OFFLINE"):
        find_encoder("st:no-such-model").digest  # noqa: B018
    with pytest.raises(ConfigError, match=r"st: takes a folder of sentence-transformers, or a name on the"):
        find_encoder(f"st:{tmp_path / 'none'}")
    with pytest.raises(
        ConfigError, match=r"has neither modules\.json nor config\.json, so it is no folder of"
    ) as other:
        find_encoder(f"st:{tmp_path}")
    assert (other.value.code, other.value.parameter) == ("missing-file", "encoder")


def test_a_name_is_taken_from_the_cache_of_the_hub_without_asking_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--sentence-transformers--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert find_encoder("st:tiny").digest == find_encoder(f"st:{snapshot}").digest


def test_a_download_leaves_out_the_same_weights_in_other_formats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    skipped: list[str] = []

    def download(name: str, *, local_files_only: bool = False, ignore_patterns: Sequence[str] = ()) -> str:
        if local_files_only:
            raise FileNotFoundError
        skipped.extend(ignore_patterns)
        return str(tmp_path)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module, "why_unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: ["model.safetensors", "pytorch_model.bin"])
    assert find_encoder("st:owner/name").digest == find_encoder(f"st:{tmp_path}").digest
    assert {"*.bin", "onnx/*", "*.h5"} <= set(skipped)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]))
    (tmp_path / "evil.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(CheckpointError, match=r"has a module 'evil.Module' that is not one of sentence-transformers"):
        find_encoder(f"st:{tmp_path}").digest  # noqa: B018


def test_the_digest_follows_what_is_loaded_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = find_encoder(f"st:{tmp_path}").digest
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_text("weights once more")
    assert find_encoder(f"st:{tmp_path}").digest == before
    (tmp_path / "vocab.txt").write_text("word")
    assert find_encoder(f"st:{tmp_path}").digest != before


@pytest.mark.wide
def test_a_folder_of_the_package_gives_the_packages_own_vectors(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "mug", "bowl"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    model = SentenceTransformer(str(tmp_path / "bert"), device="cpu")  # it pools by the mean
    model.save(str(tmp_path / "model"))
    capfd.readouterr()
    encoder = find_encoder(f"st:{tmp_path / 'model'}")
    texts = ["a red mug", "a bowl", "mug a a a red"]
    vectors = encoder.embed(texts, batch_size=2)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_allclose(vectors, model.encode(texts, normalize_embeddings=True), atol=1e-6)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be loaded by sentence-transformers"):
        find_encoder(f"st:{tmp_path / 'model'}").embed(texts)
