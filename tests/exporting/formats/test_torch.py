import json
import pickle
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from eml.errors import CheckpointError
from eml.exporting.formats import FormatSettings
from eml.inference.exported.model import ExportedModel
from eml.models.necks.bnneck import BNNeck
from tests.exporting.conftest import tiny_model
from tests.exporting.written import written


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_an_archive_embeds_any_number_of_images_as_the_model(suffix: str, tmp_path: Path) -> None:
    model = tiny_model(BNNeck(), tta="flip")
    path = tmp_path / f"model{suffix}"
    exported = written(model, path, FormatSettings())
    for count in (1, 2, 7):
        pixels = torch.randint(0, 256, (count, 3, 12, 8), dtype=torch.uint8)
        torch.testing.assert_close(exported.embed_pixels(pixels), model.embed_pixels(pixels), atol=1e-6, rtol=0)
    assert exported.facts.source == model.fingerprint
    assert exported.fingerprint.weights == exported.facts.graph
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, data in contents.items() if str(Path.cwd()).encode() in data]

    name = next(name for name in contents if "/data/" in name and len(contents[name]) > 500)
    contents[name] = bytes(reversed(contents[name]))
    _write(tmp_path / f"changed{suffix}", contents)
    with pytest.raises(CheckpointError):
        _ = ExportedModel(tmp_path / f"changed{suffix}").fingerprint
    for data in (path.read_bytes()[:-200], b"PK", b""):
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            ExportedModel(path)


def test_an_archive_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    written(tiny_model(BNNeck()), path, FormatSettings())
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in contents if name.endswith("data/weights/model_weights_config.json"))
    config = json.loads(contents[name])
    next(iter(config["config"].values()))["use_pickle"] = True
    _write(path, contents | {name: json.dumps(config).encode()})
    with pytest.raises(CheckpointError, match="pickled objects"):
        ExportedModel(path)


def test_an_archive_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    path, sign = tmp_path / "model.pt2", tmp_path / "ran"
    written(tiny_model(BNNeck()), path, FormatSettings())
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(contents)).partition("/")[0]
    code = f"__import__('pathlib').Path({str(sign)!r}).touch()"
    bomb = pickle.dumps(_Bomb(code))
    graph = contents[f"{root}/models/model.json"].decode()
    symbol = re.search(r'"expr_str": "(.*?)"', graph)
    assert symbol
    signature = json.loads(graph)
    signature["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"image=({code})"]
    pickled = {"a": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}}
    own, old = f"{root}/models/model.json", {f"{root}/extra/eml": contents[f"{root}/extra/eml"], "version": b"8.1"}
    hostile = (
        contents | {f"{root}/data/weights/model.pt": bomb},
        contents | {f"{root}/data/constants/opaque_obj_0": bomb},
        contents
        | {f"{root}/data/constants/model_constants_config.json": json.dumps({"config": {"a": pickled}}).encode()},
        contents | {f"{root}/data/aotinductor/model/a.so": b"a"},
        contents | {f"{root}/models/a/b.json": graph.encode()},
        contents | {own: graph.replace(symbol[1], code, 1).encode()},
        contents | {own: json.dumps(json.loads(graph) | {"guards_code": [code]}).encode()},
        contents | {own: json.dumps(signature).encode()},
        old | {"serialized_exported_program.json": graph.encode(), "serialized_constants.pt": bomb},
    )
    for changed in hostile:
        _write(path, changed)
        with pytest.raises(CheckpointError, match=r"can run code|Weights only"):
            ExportedModel(path)
        assert not sign.exists()


def test_a_script_that_writes_a_file_is_refused(tmp_path: Path) -> None:
    path, sign = tmp_path / "model.pt", tmp_path / "ran"
    written(tiny_model(BNNeck()), path, FormatSettings())
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in contents if "/code/" in name and b"    return " in contents[name])
    line = f"    torch.save(1, {str(sign)!r})\n    return ".encode()
    _write(path, contents | {name: contents[name].replace(b"    return ", line, 1)})
    with pytest.raises(CheckpointError, match="reads or writes files"):
        ExportedModel(path)


class _Bomb:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (self.code,)


def _write(path: Path, contents: dict[str, bytes]) -> None:
    with ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
