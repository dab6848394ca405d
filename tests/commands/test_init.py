from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import eml
from eml.cli.app import main
from eml.commands.init import InitResult
from eml.config import load
from eml.errors import ConfigError, DataError, OutputError
from eml.images.image_size import height_width
from eml.models.embedder import build_embedder
from eml.models.image_sizes import takes_size
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


def test_why_the_folds_are_these_is_printed_without_backquotes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = str(photos / "dataset_info.csv"), str(tmp_path / "run.yaml")
    assert main(["init", table, "--out", out, "--backbone", "test_resnet", "--weights", "none"]) == 0
    assert main(["kfold", table, "--out", str(tmp_path / "folds")]) == 0
    told = "".join(capsys.readouterr())
    assert told.count("each fold in turn says more (eml train with fold=all)") == 2
    assert "`" not in told


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


def test_the_image_size_and_the_time_are_those_that_are_set(photos: Path, tmp_path: Path) -> None:
    result = eml.init(photos, out=tmp_path / "a.yaml", backbone="test_vit", weights="none", image_size=96, minutes=5)
    written = load(eml.RunConfig, tmp_path / "a.yaml")
    assert (written.image.size, written.minutes) == (96, 5)
    assert "image.size 96: as you set it" in result.reasons  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as refused:
        eml.init(photos, out=tmp_path / "b.yaml", backbone="test_vit", weights="none", image_size=100)
    assert (refused.value.code, refused.value.parameter) == ("unsupported-by-backbone", "image_size")
    assert not (tmp_path / "b.yaml").exists()


TINY = ("test_vit",)
FAMILIES = (
    *("test_convnext", "test_coatnet"),
    *("test_efficientnet", "test_byobnet", "regnetx_002", "mobilenetv4_conv_small_050", "fastvit_t8", "mobileone_s0"),
    *("vit_tiny_patch16_224", "vit_small_patch32_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"),
    *("vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "vit_base_patch16_siglip_224", "vit_base_patch32_clip_224"),
    *("vit_pe_core_tiny_patch16_384", "resnet50_clip", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"),
    *("maxvit_rmlp_pico_rw_256", "hiera_tiny_224", "beit_base_patch16_224", "deit3_small_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "cait_xxs24_224", "edgenext_xx_small", "repvit_m1", "tiny_vit_5m_224"),
    *("mambaout_femto", "levit_128s", "xcit_nano_12_p8_224", "efficientformer_l1", "efficientformerv2_s0", "pvt_v2_b0"),
    *("ghostnetv3_050", "gcvit_xxtiny", "crossvit_tiny_240", "nest_tiny", "mobilevit_xxs", "dla46x_c", "densenet121"),
    *("hrnet_w18_small", "inception_v3", "coat_tiny", "mvitv2_tiny", "twins_svt_small", "convit_tiny", "halonet_h1"),
    *("naflexvit_base_patch16_gap", "vit_small_resnet26d_224", "sam2_hiera_tiny", "csatv2", "starnet_s050"),
)


@pytest.mark.parametrize("backbone", [*TINY, *(pytest.param(name, marks=pytest.mark.wide) for name in FAMILIES)])
def test_every_family_gets_a_size_that_it_takes_and_its_first_steps_run(
    backbone: str, photos: Path, tmp_path: Path
) -> None:
    result = eml.init(photos, out=tmp_path / "a.yaml", backbone=backbone, weights="none")
    assert isinstance(result, InitResult)
    size = result.values["image"]["size"]
    assert takes_size(backbone, size)
    small = ("batch_size=4", f"output={tmp_path / 'run'}", "data.workers=0")
    steps = eml.train(tmp_path / "a.yaml", dry_run=True, overrides=small)
    assert steps.dry_run.image_size == size  # type: ignore[attr-defined]
    embedder = build_embedder(load(eml.RunConfig, tmp_path / "a.yaml").model, size)
    embedder(torch.randn(4, 3, *height_width(size))).square().mean().backward()
    gradients = [weights.grad for weights in embedder.parameters() if weights.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


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


@pytest.mark.wide
@pytest.mark.xdist_group("clip")
def test_a_config_with_a_loss_of_texts_trains_as_it_is_written(images: Path, tmp_path: Path, tiny_clip: Path) -> None:
    out, own = tmp_path / "clip.yaml", tmp_path / "file"
    result = eml.init(images, out=out, backbone=f"open_clip:local-dir:{tiny_clip}", loss="contrastive_text")
    written = load(eml.RunConfig, out)
    assert (written.loss.type, written.margin.type, written.model.neck.type) == (
        *("contrastive_text", "normface", "identity"),
    )
    assert (written.head.scale, written.stages, written.tune.type) == ("paper", "none", "full")
    assert written.text_rate == 1e-5
    assert "class_texts: the labels in a sentence, such as 'a photo of a class 0'; docs/text.md has other texts" in (
        result.reasons  # type: ignore[attr-defined]
    )
    assert any("4 of 4 labels have no word of their own" in line for line in result.messages)
    eml.train(out, overrides=SMALL[1:], output=str(own))
    with pytest.raises(ConfigError) as refused:
        eml.init(images, out=out, loss="contrastive_text", overwrite=True)
    assert (refused.value.code, refused.value.parameter) == ("no-text-tower", "loss")
