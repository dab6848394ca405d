"""A tokenizer of open_clip as a file of the package tokenizers, which needs neither torch nor open_clip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eml.inference.exported.text_cleaning import clean
from eml.inference.exported.text_facts import Cleaning
from eml.models.open_clip_network import open_clip

_BASIC: tuple[Cleaning, ...] = ("ftfy", "unescape", "strip")
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What `SimpleTokenizer` cuts a text into, but for its special tokens."""


class UnportableTokenizerError(Exception):
    """A tokenizer that cannot be written as a file; the text says why."""


@dataclass(frozen=True)
class PortableTokenizer:
    """A tokenizer as a file.

    Attributes:
        text: The file's JSON, with cutting and padding to the length.
        length: Tokens of a text, L.
        cleaning: What is done to a text before it.
        erased_token: A token that is replaced by 0 after it; None: none.
    """

    text: str
    length: int
    cleaning: tuple[Cleaning, ...]
    erased_token: int | None = None

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of texts, L of each."""
        from tokenizers import Tokenizer

        encodings = Tokenizer.from_str(self.text).encode_batch([clean(text, self.cleaning) for text in texts])
        return [[0 if token == self.erased_token else token for token in encoding.ids] for encoding in encodings]


def portable_tokenizer(tokenizer: Any) -> PortableTokenizer:
    """Return a tokenizer of open_clip as a file.

    A text that holds a special token of `SimpleTokenizer`, such as <end_of_text>, directly after a punctuation mark is
    cut otherwise; after anything else it is cut alike.

    Raises:
        UnportableTokenizerError: It cannot be written as one.
    """
    package = open_clip()
    if isinstance(tokenizer, package.SimpleTokenizer):
        return _of_pairs(tokenizer)
    if isinstance(tokenizer, package.tokenizer.HFTokenizer):
        return _of_transformers(tokenizer)
    raise UnportableTokenizerError(f"its tokenizer, a {type(tokenizer).__name__}, is none of open_clip's")


def _of_pairs(tokenizer: Any) -> PortableTokenizer:
    """Return open_clip's byte-level pair encoding, in which </w> ends a word. Radford 2021, arXiv:2103.00020."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    if tokenizer.reduction_fn is not None:
        raise UnportableTokenizerError("its tokenizer cuts long texts by chance (reduction_mask)")
    cleaning = _cleaning(tokenizer.clean_fn)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    own = Tokenizer(
        models.BPE(
            vocab=dict(tokenizer.encoder), merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix=""
        )
    )
    if {"lower", "canonicalize"} & set(cleaning):
        own.normalizer = normalizers.Lowercase()  # for other programs; eml's cleaning has done it
    own.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = [tokenizer.decoder[token] for token in tokenizer.all_special_ids]
    own.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    first, last = special[:2]
    own.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(first, tokenizer.sot_token_id), (last, tokenizer.eot_token_id)],
    )
    own.enable_truncation(tokenizer.context_length)
    own.enable_padding(length=tokenizer.context_length, pad_id=0, pad_token=tokenizer.decoder[0])
    return PortableTokenizer(own.to_str(), tokenizer.context_length, cleaning)


def _of_transformers(tokenizer: Any) -> PortableTokenizer:
    """Return a tokenizer of transformers, which is one of the package tokenizers in most cases."""
    from tokenizers import Tokenizer

    inner = tokenizer.tokenizer
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        reason = f"its tokenizer, {type(inner).__name__} of transformers, has no form in the package tokenizers"
        raise UnportableTokenizerError(reason)
    if tokenizer.tokenizer_mode:
        reason = f"its tokenizer arranges tokens in a way of its own (tokenizer_mode {tokenizer.tokenizer_mode})"
        raise UnportableTokenizerError(reason)
    own = Tokenizer.from_str(backend.to_str())
    length = tokenizer.context_length
    own.enable_truncation(length, direction=inner.truncation_side)
    own.enable_padding(
        length=length,
        direction=inner.padding_side,
        pad_id=inner.pad_token_id,
        pad_type_id=inner.pad_token_type_id,
        pad_token=inner.pad_token,
    )
    erased = inner.sep_token_id if tokenizer.strip_sep_token else None
    return PortableTokenizer(own.to_str(), length, _cleaning(tokenizer.clean_fn), erased)


def _cleaning(function: Callable[[str], str]) -> tuple[Cleaning, ...]:
    """Return the steps of one of open_clip's functions that clean texts."""
    package = open_clip().tokenizer
    known: dict[Callable[[str], str], tuple[Cleaning, ...]] = {
        package.get_clean_fn("lower"): (*_BASIC, "whitespace", "lower"),
        package.get_clean_fn("whitespace"): (*_BASIC, "whitespace"),
        package.get_clean_fn("canonicalize"): (*_BASIC, "canonicalize"),
    }
    if function not in known:
        raise UnportableTokenizerError("its tokenizer cleans texts in a way of its own")
    return known[function]
