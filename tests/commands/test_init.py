from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import eml
from eml.cli.app import main
from eml.commands.init import InitResult
from eml.config import load
from eml.errors import ConfigError, DataError, OutputError
from tests.commands.conftest import SMALL


def test_init_returns_the_values_and_what_json_prints(
    photos: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    out = tmp_path / "run.yaml"
    result = eml.init(photos, out=out, backbone="test_resnet", weights="none")
    assert isinstance(result, InitResult)
    assert load(eml.RunConfig, out).model.backbone == "test_resnet"
    assert result.next_command == f"eml train {out}"
    words = ("init", photos, "--out", out, "--backbone", "test_resnet", "--weights", "none", "--overwrite")
    assert printed_json(*words) == result.to_dict()


def test_what_is_wrong_names_the_parameter(photos: Path) -> None:
    with pytest.raises(OutputError) as caught:
        eml.init(photos)
    assert (caught.value.code, caught.value.parameter) == ("file-exists", "overwrite")
    with pytest.raises(ConfigError) as refused:
        eml.init(photos, weights=photos / "gone.pth", overwrite=True)
    assert (refused.value.code, refused.value.parameter) == ("missing-file", "weights")


def test_a_config_that_starts_from_a_run_has_its_network_and_trains(
    pipeline: Path, photos: Path, tmp_path: Path
) -> None:
    run, out = pipeline / "run", tmp_path / "from.yaml"
    result = eml.init(photos, out=out, weights=run)
    written, old = load(eml.RunConfig, out), load(eml.RunConfig, run / "config.yaml")
    assert written.model.backbone == "test_resnet"
    assert (written.image.size, written.model.neck) == (32, old.model.neck)
    assert f"image.size 32: as {run} was trained" in result.reasons
    eml.train(out, overrides=SMALL[1:], output=str(tmp_path / "a"))
    with pytest.raises(ConfigError) as refused:
        eml.init(photos, out=tmp_path / "b.yaml", weights=run, backbone="test_vit")
    assert str(refused.value) == (
        f"`backbone`: {run} is of a test_resnet, whose weights do not fit test_vit; leave `backbone` out, or give "
        "other `weights`"
    )
    assert refused.value.parameter == "backbone"
    auto = {"output": str(tmp_path / "auto"), "data": {"table": str(photos / "folds.csv")}, "epochs": 1}
    auto |= {"model": {"backbone": "test_resnet", "weights": str(run)}}
    trained = eml.train(eml.RunConfig.model_validate(auto))
    assert load(eml.RunConfig, trained.folder / "config.yaml").image.size == 32  # type: ignore[attr-defined]


def test_the_image_size_is_one_that_the_network_takes(photos: Path, tmp_path: Path) -> None:
    result = eml.init(photos, out=tmp_path / "a.yaml", backbone="vit_small_patch14_dinov2", weights="none")
    assert result.values["image"] == {"size": 70}  # type: ignore[attr-defined]
    assert (
        "image.size 70: vit_small_patch14_dinov2 takes sides that are multiples of 14 pixels, near 64" in result.reasons
    )  # type: ignore[attr-defined]


def test_a_size_that_is_not_known_is_not_stated(photos: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    rows = [
        f"{folder.name},{path.relative_to(photos)}"
        for folder in sorted(photos.glob("class *"))
        for path in sorted(folder.iterdir())
    ]
    bare.write_text("\n".join(["label,file_name", *rows]) + "\n")
    result = eml.init(bare, root=photos, out=tmp_path / "a.yaml")
    [line] = [line for line in result.reasons if line.startswith("image.size")]  # type: ignore[attr-defined]
    assert line.startswith("image.size 224: the usual one, since the table does not say how large the images are")
    assert "columns width and height" in line
    assert "eml scan" not in line  # which takes no table


def two_of_each(images: Path) -> Path:
    for path in sorted(images.rglob("*.jpg")):
        if int(path.stem) > 1:
            path.unlink()
    return images


def test_classes_of_two_images_are_validated_by_class(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_of_each(images)
    assert main(["init", str(images), "--backbone", "test_resnet", "--weights", "none"]) == 0
    shown = capsys.readouterr().out
    assert "validation on fold 0 of 2 folds by class: unseen classes" in shown
    assert "epochs 60, the most: 240 images seen" in shown
    words = [word for item in SMALL for word in ("--set", item)]
    assert main(["train", str(images), *words]) == 0
    out, err = capsys.readouterr()
    assert "adding 2 folds by class" in err
    assert "\nunseen classes: MAP@R " in out


def test_folds_that_cannot_be_validated_on_are_refused_with_the_command_that_works(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = eml.kfold(two_of_each(images), by="class", k=2)
    path = table.written[0]
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "class 0" not in line))
    with pytest.raises(
        DataError, match=r"fewer than two classes are left to train on while fold 0 .*\. Run: eml kfold \S+$"
    ):
        eml.init(images)


def test_absolute_paths_to_what_lies_elsewhere_stay_absolute(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, out = tmp_path / "shared" / "weights.safetensors", tmp_path / "a" / "deep" / "project" / "config.yaml"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    out.parent.mkdir(parents=True)

    def written(dataset: Path, given: Path, target: Path) -> tuple[str, str]:
        eml.init(dataset, out=target, weights=given, overwrite=True)
        config = yaml.safe_load(target.read_text())
        assert load(eml.RunConfig, target).model.weights.resolve() == weights
        return config["data"]["table"], config["model"]["weights"]

    assert written(photos, weights, out) == (str(photos / "folds.csv"), str(weights))
    assert written(photos, weights, tmp_path / "config.yaml") == ("photos/folds.csv", "shared/weights.safetensors")
    monkeypatch.chdir(tmp_path)
    assert written(Path("photos"), Path("shared/weights.safetensors"), Path("photos/c.yaml")) == (
        "folds.csv",
        "../shared/weights.safetensors",
    )
