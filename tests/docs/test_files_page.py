"""docs/files.md names the files that eml writes, and no others."""

import re
from pathlib import Path

import eml

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
SUFFIXES = "csv|json|jsonl|yaml|html|png|safetensors|pt|npz|bin|sqlite|lock|log|onnx"
IN_CODE = re.compile(rf"[\"/](\w+\.(?:{SUFFIXES}))\"")

# What eml reads only, templates inside of the package, and parts of folders that have a page of their own.
ELSEWHERE = {
    *("page.html", "tables.json", "demo.yaml", "run.yaml", "ai.onnx", "ranges.onnx", "model.json", "_config.json"),
    *("pytorch_model.bin", "open_clip_pytorch_model.bin", "open_clip_model.safetensors", "open_clip_config.json"),
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("card.json", "export.json"),  # docs/hub.md
    *("tokenizer.json", "tokenizer_config.json"),
    *("data.bin", "index.bin", "header.json"),  # of a cache of images
    "untouched.pt",  # in stages/
    *("catalog_facts.json", "index.html", "docs.html"),  # shipped with the package
    *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"),  # of packed folders of others
    *("plan.json", "openapi.json"),  # of a pack that is not done; a path of a server
}


def source() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in Path(eml.__file__).parent.rglob("*.py"))


def test_every_file_that_the_code_names_is_on_the_page() -> None:
    named = set(IN_CODE.findall(source())) - ELSEWHERE
    assert {"run.json", "folds.json", "suspects.csv"} <= named
    missing = sorted(name for name in named if f"`{name}`" not in PAGE and f" {name} " not in PAGE)
    assert not missing, f"docs/files.md does not say what these files are; or name them in ELSEWHERE: {missing}"


def test_every_file_of_the_page_is_one_that_the_code_names() -> None:
    code = source()
    written = re.findall(rf"`([a-z_]+\.(?:{SUFFIXES}))`", PAGE)
    written += re.findall(rf"^ +([a-z_]+\.(?:{SUFFIXES})) ", PAGE, re.MULTILINE)
    assert len(written) > 40
    for name in written:
        stem = name.rpartition(".")[0]
        before = stem.rpartition("_")[0]
        ways = [name, f"{before}_{{", f'"{stem}"', f".{stem}."]  # dataset_{side}.csv, "folds", .proof.
        assert any(way in code for way in ways), f"docs/files.md names {name}, which no code writes"
