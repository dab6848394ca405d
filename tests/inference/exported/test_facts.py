import json

import pytest

from eml.errors import CheckpointError
from eml.images.preprocess import Preprocess
from eml.inference.exported.facts import ExportFacts, read_facts
from eml.models.fingerprint import Fingerprint

PREPROCESS = Preprocess(size=(12, 8))
FACTS = ExportFacts(
    eml_version="x",
    preprocess=PREPROCESS,
    embedding_size=4,
    backbone="tiny",
    source=Fingerprint(
        digest="a", backbone="tiny", weights="b", preprocess=PREPROCESS, precision="float32", tta="none", size=4
    ),
)


def test_facts_are_read_as_they_were_written() -> None:
    assert read_facts(FACTS.text(), "m.onnx") == FACTS


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "damaged-file"),
        ("{", "damaged-file"),
        ("[]", "damaged-file"),
        (json.dumps(json.loads(FACTS.text()) | {"embedding_size": 0}), "damaged-file"),
        (json.dumps(json.loads(FACTS.text()) | {"format": 99, "new": 1}), "newer-eml"),
    ],
)
def test_other_facts_are_refused_with_the_file(text: str | None, code: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read_facts(text, "m.onnx")
    assert error.value.code == code
    assert error.value.problems[0].startswith("m.onnx: ")
