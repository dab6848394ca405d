import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import eml
from eml.errors import CheckpointError, ConfigError, DataError
from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.models.checkpoint import ENSEMBLE_FORMAT, NEWEST_FORMAT, SHAPE_FORMAT, load_checkpoint, save_checkpoint
from eml.models.config import Inference, ModelConfig
from eml.models.embedder import Embedder, build_embedder, default_preprocess
from eml.models.necks.linear import Linear
from eml.models.pointers import point
from tests.fuzz.outcome import memory_below

CONFIG = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=16))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    return build_embedder(CONFIG)


@pytest.fixture
def folder(embedder: Embedder, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "epoch-001", embedder, CONFIG, Preprocess(size=32), ["a", "007"], {"map_at_r": 0.5})
    return tmp_path / "epoch-001"


def image(path: Path, size: tuple[int, int] = (50, 40)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_loaded_checkpoint_embeds_as_the_saved_network_did(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    path = image(tmp_path / "p.png")
    model = eml.load(folder, device="cpu")
    expected = Model(embedder, Preprocess(size=32), torch.device("cpu")).embed(path)
    assert expected.shape == (1, 16)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(model.embed([path]), expected)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-6)


def test_paths_pil_images_and_arrays_embed_alike_in_any_batching(folder: Path, tmp_path: Path) -> None:
    path = image(tmp_path / "p.png")
    opened = Image.open(path)
    model = eml.load(folder, device="cpu")
    rows = model.embed([path, str(path), opened, np.asarray(opened)], batch_size=3)
    np.testing.assert_allclose(rows, np.broadcast_to(rows[0], rows.shape), atol=1e-6)
    assert model.embed([]).shape == (0, 16)


def test_a_checkpoint_that_does_not_say_puts_transparency_on_white(folder: Path, tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    drawing.paste((255, 255, 255, 255), (5, 5, 20, 30))
    drawing.save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white.png")
    new = eml.load(folder, device="cpu")
    assert (new.preprocess.background, new.preprocess.resize) == ("contrast", "torch")
    assert not np.array_equal(*new.embed([tmp_path / "a.png", tmp_path / "white.png"]))
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["preprocess"]["background"], config["preprocess"]["resize"]
    file.write_text(json.dumps(config))
    old = eml.load(folder, device="cpu")
    assert old.preprocess == new.preprocess.model_copy(update={"background": "white", "resize": "pillow"})
    np.testing.assert_array_equal(*old.embed([tmp_path / "a.png", tmp_path / "white.png"]))
    np.testing.assert_array_equal(*old.embed([drawing, Image.new("RGB", (40, 40), "white")]))


def test_a_checkpoint_holds_what_the_design_says_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "config.json",
        "labels.json",
        "metrics.json",
    }
    assert json.loads((folder / "labels.json").read_text()) == ["a", "007"]
    config = json.loads((folder / "config.json").read_text())
    assert config["embedding_size"] == 16
    assert config["model"]["weights"] == "none"
    assert config["preprocess"]["size"] == 32


def test_a_checkpoint_that_a_killed_process_had_moved_aside_is_found(folder: Path) -> None:
    aside = folder.with_name(f".eml-tmp-old-0123abcd-{folder.name}")
    folder.rename(aside)
    assert load_checkpoint(folder).folder == folder
    folder.rename(aside)
    point(folder.parent / "best", folder)
    assert load_checkpoint(folder.parent).folder == folder


def test_pointers_and_run_folders_lead_to_the_checkpoint(folder: Path) -> None:
    run = folder.parent / "run"
    (run / "checkpoints").mkdir(parents=True)
    moved = run / "checkpoints" / "epoch-001"
    folder.rename(moved)
    point(run / "checkpoints" / "best", moved)
    for path in (run, run / "checkpoints", run / "checkpoints" / "best", moved):
        assert load_checkpoint(path).folder == moved


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist: expected a folder with config\.json"):
        eml.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is neither a checkpoint nor a run folder"):
        eml.load(tmp_path)
    config = folder / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"format": 2', '"format": 99'))
    with pytest.raises(CheckpointError, match="written by a newer eml"):
        eml.load(folder)
    config.write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        eml.load(folder)
    config.write_text(text.replace("test_resnet", "test_vit"))
    with pytest.raises(CheckpointError, match="damaged or of another architecture"):
        eml.load(folder)
    config.write_text(text)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        eml.load(folder)


def test_weights_that_are_no_numbers_and_a_size_that_is_not_the_networks_are_refused(folder: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    tensors = load_file(weights)
    tensors["backbone.conv1.0.weight"][0] = torch.nan
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: 1 of its tensors have values that are NaN or inf"):
        eml.load(folder)
    config.write_text(config.read_text().replace('"embedding_size": 16', '"embedding_size": 1000000'))
    with pytest.raises(CheckpointError, match="embedding_size is 1,000,000, and the network in it has 16"):
        eml.load(folder)


def test_a_small_file_gets_no_memory_for_a_large_network(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace("test_resnet", "vit_large_patch16_224"))
    with memory_below(2**28), pytest.raises(CheckpointError, match=r"vit_large_patch16_224 has 30\d,\d+,\d+ weights"):
        load_checkpoint(folder)


def test_a_failed_save_leaves_the_old_checkpoint_whole(folder: Path, embedder: Embedder) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(folder, embedder, CONFIG, Preprocess(size=32), [], {"map_at_r": float("nan")})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_images_that_cannot_be_embedded_are_named(folder: Path, tmp_path: Path) -> None:
    model = eml.load(folder, device="cpu")
    with pytest.raises(DataError, match=r"gone\.jpg"):
        model.embed(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"must be \(H, W, 3\), .* of uint8, got \(4, 4\) float64"):
        model.embed(np.zeros((4, 4)))  # type: ignore[arg-type]


def test_weights_that_do_not_fit_or_cannot_be_had_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for weights, message in (
        (folder / "model.safetensors", "does not fit test_vit"),
        (tmp_path / "bad.safetensors", "does not fit test_vit"),
        (tmp_path / "none.safetensors", "is neither a file nor a folder"),
        ("pretrained", r"pretrained weights of test_vit are not in the cache.*give a file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            build_embedder(ModelConfig.model_validate({"backbone": "test_vit", "weights": weights}))


def test_features_are_measured_and_preprocessing_is_the_models_own() -> None:
    for name in ("test_resnet", "test_vit", "test_convnext"):
        config = ModelConfig.model_validate({"backbone": name, "weights": "none", "neck": {"type": "identity"}})
        embedder = build_embedder(config, 64)
        images = torch.zeros(2, 3, 64, 64)
        assert embedder.eval()(images).shape == (2, embedder.size)
        assert default_preprocess(embedder).size == 160 or name == "test_vit"
        assert default_preprocess(embedder, size=64, mean=None).size == 64


def test_a_size_that_the_network_cannot_take_is_an_error() -> None:
    with pytest.raises((ConfigError, CheckpointError), match=r"test_vit"):
        build_embedder(ModelConfig.model_validate({"backbone": "test_vit", "weights": "none"}), 8)


def test_pil_images_of_any_mode_embed_as_their_files_do(folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.fromarray(pixels[..., :3]).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    model = eml.load(folder, device="cpu")
    for name in ("alpha.png", "turned.jpg", "deep.png"):
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_allclose(model.embed(opened), model.embed(tmp_path / name), atol=1e-6, err_msg=name)


def test_a_pth_file_is_read_without_running_code_in_it(tmp_path: Path) -> None:
    config = {"backbone": "test_resnet", "neck": {"type": "identity"}}
    first = build_embedder(ModelConfig.model_validate(config | {"weights": "none"}))
    torch.save({"state_dict": first.backbone.state_dict()}, tmp_path / "good.pth")
    again = build_embedder(ModelConfig.model_validate(config | {"weights": tmp_path / "good.pth"}))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again.eval()(images), first.eval()(images))
    torch.save(Path, tmp_path / "bad.pth")  # a pickled class, not tensors
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    for name in ("bad", "text", "empty"):
        with pytest.raises(CheckpointError, match="does not fit test_resnet"):
            build_embedder(ModelConfig.model_validate(config | {"weights": tmp_path / f"{name}.pth"}))


@pytest.mark.parametrize("name", ["", ".", "..", "best", "../../../other", "sub/epoch-001", "/tmp", "x\0y", "x" * 300])
def test_a_pointer_leads_only_to_a_checkpoint_beside_it(folder: Path, name: str) -> None:
    run = folder.parent / "run"
    (run / "checkpoints").mkdir(parents=True)
    folder.rename(run / "checkpoints" / "epoch-001")
    pointer = run / "checkpoints" / "best"
    pointer.write_text(name)
    for path in (run, run / "checkpoints", pointer):
        with pytest.raises(CheckpointError, match=r"best: must name a checkpoint .* there are epoch-001") as error:
            load_checkpoint(path)
        assert error.value.code == "damaged-file"


def test_a_checkpoint_says_how_it_embeds_and_a_given_augmentation_goes_before(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    save_checkpoint(own, embedder, CONFIG, Preprocess(size=32), ["a"], {}, inference=Inference(tta="flip", size=48))
    path = image(tmp_path / "p.png")
    model, plain = eml.load(own, device="cpu"), eml.load(own, device="cpu", tta="none")
    assert (model.tta, model.preprocess.size, plain.tta) == ("flip", 48, "none")
    flipped = Model(embedder, Preprocess(size=48), torch.device("cpu"), tta="flip")
    np.testing.assert_array_equal(model.embed(path), flipped.embed(path))
    assert model.fingerprint.digest == flipped.fingerprint.digest
    assert plain.fingerprint.difference_from(model.fingerprint) == "tta none, not flip"
    assert load_checkpoint(own).config.preprocess.size == 32, "training goes on at its own size"
    config = json.loads((own / "config.json").read_text())
    assert (config["format"], config["inference"]) == (4, {"tta": "flip", "size": 48})
    assert eml.load(folder, device="cpu").tta == "none"
    save_checkpoint(own, embedder, CONFIG, Preprocess(size=32), ["a"], {}, inference=Inference())
    config = json.loads((own / "config.json").read_text())
    assert "inference" not in config, "what is usual is not said, so that an older eml reads it"
    assert config["format"] == 2


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_a_checkpoint_for_images_that_are_no_squares_is_read_by_an_eml_that_knows_them(
    tmp_path: Path, backbone: str
) -> None:
    config = ModelConfig(backbone=backbone, weights="none", neck=Linear(size=16))
    made = build_embedder(config, (64, 32))
    save_checkpoint(tmp_path / "tall", made, config, Preprocess(size=(64, 32)), ["a"], {})
    stored = json.loads((tmp_path / "tall" / "config.json").read_text())
    assert (stored["format"], stored["preprocess"]["size"]) == (SHAPE_FORMAT, [64, 32])
    assert SHAPE_FORMAT > ENSEMBLE_FORMAT, "the highest that an eml reads which would refuse the pair as damage"
    model, path = eml.load(tmp_path / "tall", device="cpu"), image(tmp_path / "p.png", (40, 90))
    plain = Model(made, Preprocess(size=(64, 32)), torch.device("cpu"))
    np.testing.assert_array_equal(model.embed(path), plain.embed(path))
    larger = eml.load(tmp_path / "tall", image_size=(96, 64), device="cpu")
    assert larger.preprocess.size == (96, 64)
    assert larger.embed(path).shape == (1, 16)
    square = eml.load(tmp_path / "tall", image_size=64, device="cpu")
    assert square.fingerprint.difference_from(model.fingerprint).startswith("preprocess.size 64, not 64×32")


def test_a_square_that_embeds_at_another_shape_needs_the_newer_format(folder: Path, embedder: Embedder) -> None:
    inference = Inference(size=(48, 24))
    save_checkpoint(folder, embedder, CONFIG, Preprocess(size=32), ["a"], {}, inference=inference)
    config = json.loads((folder / "config.json").read_text())
    assert (config["format"], config["inference"]["size"]) == (SHAPE_FORMAT, [48, 24])
    assert eml.load(folder, device="cpu").preprocess.size == (48, 24)
    (folder / "config.json").write_text(json.dumps(config | {"format": NEWEST_FORMAT + 1}))
    with pytest.raises(CheckpointError, match="written by a newer eml"):
        eml.load(folder, device="cpu")


@pytest.mark.parametrize(
    "backbone, size, reason",
    [
        ("nest_tiny", (256, 128), "256×128 pixels (height × width): Model only handles square inputs"),
        ("convit_tiny", (256, 128), "256×128 pixels (height × width): The "),
        ("test_vit", (60, 32), "60×32 pixels (height × width): Input height (60) should be divisible by"),
        ("test_vit", 8, "8×8 pixels: Input height (8)"),
    ],
)
def test_a_shape_that_the_network_cannot_take_is_told_with_the_reason(
    backbone: str, size: int | tuple[int, int], reason: str
) -> None:
    config = ModelConfig.model_validate({"backbone": backbone, "weights": "none"})
    with pytest.raises(ConfigError) as error:
        build_embedder(config, size)
    assert error.value.problems[0].startswith(f"model.backbone: {backbone} cannot take images of {reason}")
    assert error.value.problems[0].code == "unsupported-by-backbone"


def test_a_transformer_embeds_at_a_size_that_it_was_not_trained_at(tmp_path: Path) -> None:
    config = ModelConfig(backbone="test_vit", weights="none", neck=Linear(size=16))
    made = build_embedder(config, 64)
    save_checkpoint(tmp_path / "vit", made, config, Preprocess(size=64), ["a"], {}, inference=Inference(size=96))
    model = eml.load(tmp_path / "vit", device="cpu")
    assert model.embed(image(tmp_path / "p.png")).shape == (1, 16)
    assert model.embedder.backbone.pos_embed.shape[1] > made.backbone.pos_embed.shape[1]  # type: ignore[union-attr, operator, index]
