"""The text tower of a model, written beside the file with its image tower."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from eml.errors import ConfigError, EmlError
from eml.exporting.onnx_file import write_graph
from eml.exporting.proof.record import ProofLimits
from eml.exporting.texts.graph import TextGraph
from eml.exporting.texts.proof import prove_texts
from eml.exporting.texts.samples import AWKWARD, labels_of
from eml.exporting.texts.tokenizer import PortableTokenizer, UnportableTokenizerError, portable_tokenizer
from eml.files import bytes_digest
from eml.inference.exported.onnx_bytes import graph_digest, put_facts
from eml.inference.exported.text_facts import TextFacts, text_path, tokenizer_path
from eml.inference.exported.texts import ExportedTexts
from eml.inference.model import Model
from eml.versions import eml_version

INPUT = "tokens"
EXAMPLE = ["a", "a photo"]


class NoTextTower(Exception):  # noqa: N818 an answer, not a mishap
    """Says why no text tower is written."""


def write_text_tower(
    model: Model, image_path: Path, image_graph: str, opset: int, limits: ProofLimits | None
) -> TextFacts:
    """Write the text tower of a model beside a file with its image tower, and prove it.

    Args:
        model: The model, with a text tower.
        image_path: The file with its image tower.
        image_graph: The `graph` in the facts of that file.
        opset: Of ONNX.
        limits: What its embeddings have to keep to; None: they are not compared.

    Returns:
        The facts, whose proof may have failed.

    Raises:
        NoTextTower: None is written.
    """
    try:
        model.embed_text([])
        tokenizer = _tokenizer(model)
        path = text_path(image_path)
        assert model.embedder.text is not None, "else embed_text would say so"
        write_graph(
            TextGraph(model.embedder.text).eval().cpu(), model.embedder.text.tokenize(EXAMPLE), path, INPUT, opset
        )
    except EmlError as error:
        raise NoTextTower(str(error)) from error
    data = tokenizer.text.encode()
    tokenizer_path(image_path).write_bytes(data)
    tower = model.embedder.text
    facts = TextFacts(
        eml_version=eml_version(),
        embedding_size=model.size,
        context_length=tokenizer.length,
        image_graph=image_graph,
        graph=graph_digest(path),
        tokenizer=bytes_digest(data),
        cleaning=tokenizer.cleaning,
        erased_token=tokenizer.erased_token,
        logit_scale=float(tower.logit_scale.detach().double().exp()),
        logit_bias=None if tower.logit_bias is None else float(tower.logit_bias.detach()),
    )
    put_facts(path, facts.text())
    if limits is not None:
        exported = ExportedTexts(image_path)
        proof = prove_texts(model, lambda texts: exported.embed(texts, len(texts)), labels_of(model), limits)
        facts = facts.model_copy(update={"proof": proof})
        put_facts(path, facts.text())
    return facts


def _tokenizer(model: Model) -> PortableTokenizer:
    """Return the tokenizer as a file that gives the same tokens.

    Raises:
        ConfigError: The package tokenizers is not installed.
        NoTextTower: The tokenizer cannot be written so.
    """
    if find_spec("tokenizers") is None:
        text = "its tokenizer needs the tokenizers package: pip install 'easy-metric-learning[onnx]'"
        raise ConfigError(text, code="missing-package")
    tower = model.embedder.text
    assert tower is not None, "a model that embeds texts has one"
    try:
        tokenizer = portable_tokenizer(tower.tokenizer)
    except UnportableTokenizerError as error:
        raise NoTextTower(str(error)) from error
    texts = [*AWKWARD, *labels_of(model)]
    different = different_tokens(texts, tower.tokenize(texts).tolist(), tokenizer.tokenize(texts))
    if different:
        raise NoTextTower(
            f"its tokenizer cannot be written so that it gives the same tokens: {len(different):,} of {len(texts):,} "
            f"texts differ, such as {different[0][:40]!r}"
        )
    return tokenizer


def different_tokens(texts: Sequence[str], before: list[list[int]], after: list[list[int]]) -> list[str]:
    """Return the texts whose tokens are not equal."""
    return [text for text, own, new in zip(texts, before, after, strict=True) if own != new]
