from pathlib import Path
from typing import Any

import pytest

from eml.exporting.texts.samples import AWKWARD
from eml.exporting.texts.tokenizer import UnportableTokenizerError, portable_tokenizer

pytestmark = pytest.mark.xdist_group("clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
pytest.importorskip("tokenizers")


@pytest.mark.parametrize(
    "settings",
    [{"clean": "canonicalize", "context_length": 16}, pytest.param({"clean": "whitespace"}, marks=pytest.mark.wide)],
)
def test_open_clips_own_tokenizer_gives_the_same_tokens_from_a_file(settings: dict[str, Any]) -> None:
    tokenizer = open_clip.SimpleTokenizer(**settings)
    portable = portable_tokenizer(tokenizer)
    tokens = portable.tokenize(list(AWKWARD))
    assert tokens == tokenizer(list(AWKWARD)).tolist()
    assert portable.length == len(tokens[0]) == tokenizer.context_length
    assert sum(row[-1] != 0 for row in tokens) >= 2, "some texts have to be so long that they are cut"
    special = ["<end_of_text> here", "a<start_of_text>b"]
    assert portable.tokenize(special) == tokenizer(special).tolist()


def test_a_tokenizer_without_such_a_form_says_why() -> None:
    tokenizer = open_clip.SimpleTokenizer(reduction_mask="random")
    with pytest.raises(UnportableTokenizerError, match="by chance"):
        portable_tokenizer(tokenizer)
    tokenizer.reduction_fn, tokenizer.clean_fn = None, str.lower
    with pytest.raises(UnportableTokenizerError, match="cleans texts"):
        portable_tokenizer(tokenizer)
    with pytest.raises(UnportableTokenizerError, match="a type, is none of open_clip's"):
        portable_tokenizer(list)


@pytest.mark.wide
@pytest.mark.parametrize("kind", ["WordPiece", "Unigram"])
@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_a_tokenizer_of_transformers_gives_the_same_tokens_from_a_file(kind: str, clean: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "WordPiece":
        own = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    else:
        own = Tokenizer(models.Unigram())
        own.normalizer, own.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        names = {"special_tokens": special, "unk_token": "[UNK]"}
        trainer = trainers.UnigramTrainer(vocab_size=300, show_progress=False, **names)
    own.train_from_iterator(AWKWARD, trainer)
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(tmp_path)
    for settings in ({"strip_sep_token": True}, {"context_length": 8}):
        tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path), clean=clean, **settings)
        assert portable_tokenizer(tokenizer).tokenize(list(AWKWARD)) == tokenizer(list(AWKWARD)).tolist()
    tokenizer.tokenizer_mode = "clips"
    with pytest.raises(UnportableTokenizerError, match="tokenizer_mode clips"):
        portable_tokenizer(tokenizer)
