from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from eml.errors import OutputError
from eml.reports.own_plots import refuse_plot, signature


def test_only_a_plot_of_the_same_command_is_replaced_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    refuse_plot(path, "eml plot", "out", overwrite=False)
    texts = PngImagePlugin.PngInfo()
    for key, text in signature("eml plot").items():
        texts.add_text(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=texts)
    refuse_plot(path, "eml plot", "out", overwrite=False)
    with pytest.raises(OutputError, match=r"set `overwrite` to replace it, or give another `plot`") as error:
        refuse_plot(path, "eml calibrate", "plot", overwrite=False)
    assert (error.value.code, error.value.parameter) == ("file-exists", "plot")
    refuse_plot(path, "eml calibrate", "plot", overwrite=True)


def test_each_refusal_has_its_code(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for name, code in (("plot.jpg", "wrong-suffix"), ("folder.png", "not-a-file"), ("file/a.png", "not-writable")):
        with pytest.raises(OutputError) as error:
            refuse_plot(tmp_path / name, "eml plot", "out", overwrite=True)
        assert (error.value.code, error.value.parameter) == (code, "out")
