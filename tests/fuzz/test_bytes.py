"""Random files: configs, checkpoints, files of embeddings and all others are read or refused, in under 1 GB."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from eml.config import load
from eml.config.type_info import key_paths
from eml.inference.embeddings_file import read_embeddings
from eml.training.config import RunConfig
from tests.fuzz.outcome import memory_below, outcome
from tests.fuzz.readers import READERS, Reader, make_dataset

pytestmark = pytest.mark.wide

MOST_GROWTH = 5 * 10**8  # bytes beyond what the process has before, about as much again for torch and pandas

numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 1e-320, 1e308, 1e19, 0.5, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
)
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/", "../../x", "a\0b", "\ud800", "x" * 300, "x/" * 3000, "~", "~nobody/x", "\x1b[2J", "none"]
    ),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)


def runs(count: int) -> Any:
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=checks, phases=phases)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Return the bytes with some of them changed, left out, repeated or put in."""
    result = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(result)))
        length = draw(st.sampled_from([1, 1, 2, 4, 8, 64, 1024]))
        match draw(st.sampled_from(["change", "change", "cut", "insert", "repeat", "end"])):
            case "change":
                result[at : at + length] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del result[at : at + length]
            case "insert":
                result[at:at] = draw(
                    st.one_of(st.binary(max_size=16), st.sampled_from([b"\xff" * 8, bytes(8), b"9" * 20]))
                )
            case "repeat":
                result[at:at] = result[at : at + length] * draw(st.sampled_from([1, 2, 50]))
            case _:
                del result[at:]
    return bytes(result)


@st.composite
def reshaped(draw: st.DrawFn, value: Any) -> Any:
    """Return a JSON value with one or two of its parts replaced or left out."""
    for _ in range(draw(st.integers(1, 2))):
        value = draw(_with_a_part_replaced(value))
    return value


@st.composite
def _with_a_part_replaced(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(values)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw(st.sampled_from(keys))
    copied = value.copy()
    if draw(st.integers(0, 7)) == 0:
        del copied[key]
    else:
        copied[key] = draw(_with_a_part_replaced(value[key]))
    return copied


KEYS = sorted({".".join(map(str, path)) for path in key_paths(RunConfig, {})})
FRAGMENTS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "- ",
        "&a ",
        "*a",
        "!!int ",
        "!!python/object:os.system ",
        "? ",
        "|",
        ">",
        "%YAML 1.1",
    ),
    *(
        "---\n",
        "\n",
        "  ",
        "\t",
        "'",
        '"',
        r'"\U00110000"',
        r'"\uD800"',
        "<<: *a",
        "0x" + "f" * 99,
        "1e999",
        "~",
        "#",
        "\0",
    ),
    *("type: arcface", "arcface", ".nan", "-.inf", "0o777", "output", "data", "model", "margin", "augment", "sampler"),
]
BASE = {"output": "run", "data": {"table": "t.csv", "fold": 0}}


def put(config: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = config.get(section)
        config[section] = inner if isinstance(inner, dict) else {}
        config = config[section]
    config[last] = value


@st.composite
def config_texts(draw: st.DrawFn) -> str:
    """Return a config: with any values for keys that exist, or of fragments of YAML, or both."""
    config = json.loads(json.dumps(BASE))
    for _ in range(draw(st.integers(0, 3))):
        put(config, draw(st.sampled_from(KEYS)), draw(values))
    text = json.dumps(config) if draw(st.booleans()) else yaml.dump(config, allow_unicode=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(FRAGMENTS)) * draw(st.sampled_from([1, 1, 1, 40, 3000])) + text[at:]
    return text


@runs(20_000)
@given(text=config_texts(), key=st.sampled_from(KEYS), value=st.one_of(st.none(), values))
def test_configs(tmp_path: Path, text: str, key: str, value: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    overrides = [] if value is None else [f"{key}={json.dumps(value)}"]
    event(outcome(lambda: load(RunConfig, file, overrides)))


def run_reader(folder: Path, reader: Reader, data: bytes) -> str:
    file = next(iter(folder.glob(reader.file)), folder / reader.file)
    whole = file.read_bytes()
    file.write_bytes(data)
    try:
        return outcome(lambda: reader.read(folder))
    finally:
        if file.is_file():
            file.write_bytes(whole)


CHECKPOINT_READERS = [reader for reader in READERS if "checkpoints" in reader.file or reader.file.startswith("w.")]


@runs(500)
@given(data=st.data(), reader=st.sampled_from(CHECKPOINT_READERS))
def test_checkpoints(dataset: Path, data: st.DataObject, reader: Reader) -> None:
    whole = (dataset / reader.file).read_bytes()
    if reader.file.endswith(".json") and data.draw(st.booleans()):
        changed = json.dumps(data.draw(reshaped(json.loads(whole)))).encode()
    elif reader.file.endswith(".safetensors") and data.draw(st.booleans()):
        length = int.from_bytes(whole[:8], "little")
        header = json.dumps(data.draw(reshaped(json.loads(whole[8 : 8 + length])))).encode()
        changed = len(header).to_bytes(8, "little") + header + whole[8 + length :]
    else:
        changed = data.draw(mutated(whole))
    with memory_below(MOST_GROWTH):
        event(run_reader(dataset, reader, changed))


DTYPES = ["<f4", ">f8", "<f2", "<i8", "|u1", "|b1", "<c8", "<U3", "|S2", "|O", "<M8[s]", "<m8[D]", "|V4", "<f16", "<U0"]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Return an array of some type and shape, with any bytes for its values."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.sampled_from([(), (0,), (3,), (3, 2), (2, 3), (3, 0), (0, 2), (3, 2, 2), (1, 1)]))
    if dtype.hasobject:
        return np.full(shape, draw(st.sampled_from(["x", 1, None])), object)
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    return array.view(dtype).reshape(shape) if size else np.zeros(shape, dtype)


@runs(3_000)
@given(data=st.data())
def test_embeddings(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(
        st.lists(st.sampled_from(["label", "labels", "file_name", "fold", "is_query", "x_1", "box"]), unique=True)
    )
    columns = {name: data.draw(arrays()) for name in names}
    path = tmp_path / "e.npz"
    with np.errstate(all="ignore"):
        np.savez(path, embeddings=data.draw(arrays()), **columns)
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(mutated(path.read_bytes())))
        with memory_below(MOST_GROWTH):
            event(outcome(lambda: read_embeddings(path)))


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader not in CHECKPOINT_READERS], ids=str)
def test_every_other_reader(dataset: Path, tmp_path: Path, reader: Reader) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(dataset, folder)
    whole = next(iter(folder.glob(reader.file))).read_bytes()

    @runs(300)
    @given(data=st.data())
    def read(data: st.DataObject) -> None:
        if reader.file.endswith(".json") and data.draw(st.booleans()):
            changed = json.dumps(data.draw(reshaped(json.loads(whole)))).encode()
        elif reader.file.endswith(".jsonl") and data.draw(st.booleans()):
            lines = data.draw(reshaped([json.loads(line) for line in whole.decode().splitlines()]))
            lines = lines if isinstance(lines, list) else [lines]
            changed = "".join(json.dumps(line) + "\n" for line in lines).encode()
        else:
            changed = data.draw(mutated(whole))
        run_reader(folder, reader, changed)

    with memory_below(MOST_GROWTH):
        read()
