"""No secret is printed or kept, however it is written; ordinary command lines stay as they are."""

import json
from pathlib import Path

import pytest
from PIL import Image

from eml.cli.app import main
from eml.cli.secrets import hidden_line, hidden_text

LONG = "q8Zr2Lw0Xc7Vb5Nn3Mm1Kk9Jj4Hh6Gg2Ff"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLWl0"
WORDS = [
    ["--set", "wandb.key=SECRETV"],
    ["--set", "password=SEC RETV"],
    ["--set", "password=a,RETV"],
    ["--set", "passphrase=RETV"],
    ["--set", "pwd=RETV"],
    ["--set", "auth=RETV"],
    ["--set", "private_key=RETV"],
    ["--set", "wandb.apiKey=RETV"],
    ["--set", "token= RETV"],
    ["--set", "x.token.value=a\nRETV"],
    ["--set", '{"password": "it\'s \\"RETV"}'],
    ["--set", '{"a": {"api_key": "RETV, RETV"}}'],
    ["--token", "-RETV"],
    ["--token", "--RETV"],
    ["--hub-token=RETV"],
    ["--token RETV"],
    ["-H", "Authorization: Basic RETV"],
    ["https://RETV@h/"],
    ["https://ana:a/RETV@h/"],
    ["https://ana:a@RETV@h/"],
    ["https://ana:a RETV@h/"],
    ["s3://bucket/x?X-Amz-Signature=RETV&y=RETV"],
    ["--name", "wandb_v1_RETVabcdefgh"],
    ["--name", "npm_RETVabcdefgh0123456789"],
    ["--name", "AIzaRETVabcdefgh0123456789_-abcdef"],
    ["--name", "ghp_RETVabcdefgh0123456789"],
    ["--name", "hf_RETVabcdefgh0123456789"],
    ["--name", JWT.replace("c2ln", "RETV")],
    ["--name", LONG + "RETV"],
    ["--name", (LONG + "RETV").lower()],
    ["--name", LONG[:20] + "_" + LONG[20:] + "RETV"],
]
LINES = [
    "--token -RETV",
    "--hub-token=RETV",
    "{'password': 'SEC RETV'}",
    'error: {"password": "it\'s \\"RETV"}',
    "password=a,RETV",
    "token= RETV",
    "key: wandb_v1_RETVabcdefgh",
    "WANDB_API_KEY=RETV",
    'password = "SEC RETV"',
    "Authorization: Bearer RETVabcdefgh",
    "401 of https://RETV@h/",
    "401 of https://ana:a/RETV@h/",
    f"refused {JWT.replace('c2ln', 'RETV')}",
    f"refused '{LONG}RETV'",
]
ORDINARY = [
    "eml train run.yaml --set margin.m=0.3 --set margin.name=arcface",
    "eml train run.yaml --set text.tokenizer=plain --set text.max_tokens=77",
    "eml train run.yaml --set model.weights=photos/IMG_20230101_120000_of_the_kitchen_table_2.safetensors",
    "eml embed /data/Grocery160TrainedWithArcFaceAndMore2023Final1/a.jpg --out keys.npy",
    "eml index monkey.csv --text a --by author=ana",
    "eml export best.ckpt --backbone timm:mobilenetv2_100.ra_in1k@0123456789012345678901234567890123456789",
    f"eml check {'0123456789abcdef' * 4} 123e4567-e89b-12d3-a456-426614174000",
    "eml search https://host/photos/a.jpg?size=3",
]


@pytest.mark.parametrize("words", WORDS)
def test_a_command_line_shows_no_secret(words: list[str]) -> None:
    line = hidden_line(["eml", "train", *words, "--out", "runs/a"])
    assert "RETV" not in line.upper()
    assert "***" in line
    assert line.startswith("eml train ")
    assert line.endswith(" --out runs/a")


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_text_shows_no_secret(line: str) -> None:
    text = hidden_text(f"before {line}\nafter", environment={})
    assert "RETV" not in text
    assert "***" in text
    assert text.startswith("before ")
    assert text.endswith("\nafter")


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_command_line_stays(line: str) -> None:
    assert hidden_line(line.split(" ")) == " ".join(hidden_line([word]) for word in line.split(" "))
    assert "***" not in hidden_line(line.split(" "))
    assert hidden_text(line, environment={}) == line


@pytest.mark.parametrize(
    "line",
    [
        "self.token = read(path)",
        "tokenizer: no file",
        "hf_hub_download(name)",
        "sorted(names, key=lambda name: name)",
        "KeyError: 'margin'",
        '  File "/opt/eml/commands/train.py", line 3, in run',
    ],
)
def test_a_line_of_a_traceback_stays(line: str) -> None:
    assert hidden_text(line, environment={}) == line


def test_what_the_environment_names_is_hidden_everywhere() -> None:
    environment = {"HF_TOKEN": "plain words", "EDITOR": "vi of mine", "PASSWORD": "a"}
    text = hidden_text("plain words in vi of mine, a", environment=environment)
    assert text == "*** in vi of mine, a"


def test_the_sidecar_of_a_file_has_no_secret(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text("file_name,label\n" + "".join(f"{n}.jpg,{n % 4}\n" for n in range(16)))
    for n in range(16):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / f"{n}.jpg")
    assert main(["kfold", str(table), "--k", "2", "--out", str(tmp_path / "token=RETV")]) == 0
    commands = [json.loads(path.read_text())["command"] for path in tmp_path.rglob("*.eml.json")]
    assert commands
    assert all("***" in command and "RETV" not in command for command in commands)


def test_an_option_after_a_hidden_value_stays() -> None:
    assert hidden_line(["--token", "-my-secret", "--margin", "arcface"]) == "--token '***' --margin arcface"
