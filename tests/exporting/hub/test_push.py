"""`eml push`: only what was written and proven is uploaded, privately, to a hub over HTTP."""

import shutil
from pathlib import Path

import pytest
import torch

import eml
from eml.errors import CheckpointError, ConfigError
from eml.exporting.hub.push import files_to_push, push_folder
from tests.exporting.hub.conftest import write_proved_folder
from tests.exporting.small_models import noise
from tests.stand_in_hub import Repository, StandIn

NAME = "somebody/products"


@pytest.fixture
def folder(proved: Path, tmp_path: Path) -> Path:
    """A copy of the proven folder, which a test may change."""
    return Path(shutil.copytree(proved, tmp_path / "products"))


def test_the_files_of_the_folder_and_nothing_else_are_uploaded_privately(folder: Path, hub: StandIn) -> None:
    for name in ("notes.txt", "eml/secret.json", "proof.html", ".env"):
        (folder / name).write_text("mine", encoding="utf-8")
    pushed = push_folder(folder, NAME)
    repository = hub.repositories[NAME]
    assert repository.private
    assert pushed.private
    assert pushed.url == f"{hub.url}/{NAME}"
    assert sorted(repository.files) == pushed.files == files_to_push(folder)
    assert {"README.md", "model.safetensors", "eml/hub.json"} <= set(pushed.files)
    assert not {"notes.txt", "eml/secret.json", "proof.html", ".env"} & set(pushed.files)
    assert all(repository.files[file] == (folder / file).read_bytes() for file in pushed.files)


def test_what_was_uploaded_is_loaded_by_its_name_and_the_second_time_from_the_cache(proved: Path, hub: StandIn) -> None:
    push_folder(proved, NAME)
    model, own = eml.load(f"hf-hub:{NAME}"), eml.load(proved)
    assert model.fingerprint == own.fingerprint
    assert torch.equal(model.embed_pixels(noise(own)), own.embed_pixels(noise(own)))
    hub.requests.clear()
    assert eml.load(f"hf-hub:{NAME}").fingerprint == own.fingerprint
    assert eml.load(f"timm:hf-hub:{NAME}").size == 96
    assert hub.requests.count(f"GET /{NAME}/resolve/main/config.json") == 1  # for timm alone
    assert not [request for request in hub.requests if "eml" in request]


def test_the_card_may_be_edited_and_every_other_file_may_not(folder: Path) -> None:
    (folder / "README.md").write_text("# My model\n", encoding="utf-8")
    assert "README.md" in files_to_push(folder)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"modules\.json: is not as eml export wrote it") as caught:
        files_to_push(folder)
    assert (caught.value.code, caught.value.parameter) == ("changed-file", "folder")


def test_a_file_that_leads_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("mine", encoding="utf-8")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "private")
    with pytest.raises(CheckpointError, match=r"README\.md: leads out of the folder"):
        files_to_push(folder)


def test_a_failed_or_missing_proof_is_refused_before_the_network_is_asked(tmp_path: Path, hub: StandIn) -> None:
    failed = write_proved_folder(tmp_path / "failed", passed=False)
    with pytest.raises(CheckpointError, match=r"its proof failed; the least cosine is \.5") as caught:
        push_folder(failed, NAME)
    assert caught.value.code == "not-proven"
    (failed / "eml/export.json").unlink()
    from eml.exporting.hub.seal import seal

    seal(failed)
    with pytest.raises(CheckpointError, match="has no proof") as caught:
        push_folder(failed, NAME)
    assert caught.value.code == "not-proven"
    assert not hub.requests


def test_a_proof_of_another_export_is_refused(folder: Path) -> None:
    (folder / "proof.json").write_text('{"passed": true, "graph": "of another"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"proof\.json is of another export") as caught:
        files_to_push(folder)
    assert caught.value.code == "not-proven"


def test_a_folder_that_eml_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    words_of = {"": "is no hub folder", "none": "there is no such folder", "model.onnx": "is a file and no hub folder"}
    for name, words in words_of.items():
        folder = tmp_path / name
        with pytest.raises(CheckpointError, match=words) as caught:
            push_folder(folder, NAME)
        assert (caught.value.code, caught.value.parameter) == ("not-a-hub-folder", "folder")


@pytest.mark.parametrize("name", ["products", "a/b/c", "../b", "a b/c"])
def test_a_name_without_an_owner_is_refused(proved: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="OWNER/NAME") as caught:
        push_folder(proved, name, dry_run=True)
    assert caught.value.parameter == "repository"


def test_a_public_repository_gets_nothing_unless_that_is_said(proved: Path, hub: StandIn) -> None:
    hub.repositories[NAME] = Repository(private=False)
    with pytest.raises(ConfigError, match="is there and public") as caught:
        push_folder(proved, NAME)
    assert (caught.value.code, caught.value.parameter) == ("already-public", "public")
    assert not hub.repositories[NAME].files
    assert not push_folder(proved, NAME, public=True).private
    assert hub.repositories[NAME].files


def test_files_that_an_earlier_upload_left_are_removed_and_the_owners_stay(proved: Path, hub: StandIn) -> None:
    old = {"2_Dense/config.json": b"{}", "eml/old.bin": b"", "photo.jpg": b"", "LICENSE": b""}
    hub.repositories[NAME] = Repository(private=True, files=dict(old))
    assert push_folder(proved, NAME).removed == ["2_Dense/config.json", "eml/old.bin"]
    assert {"photo.jpg", "LICENSE"} <= set(hub.repositories[NAME].files)


def test_a_dry_run_asks_nothing_of_the_network(proved: Path, hub: StandIn) -> None:
    pushed = eml.push(proved, NAME, dry_run=True)
    assert "would go to somebody/products (private)" in pushed.summary()
    assert not hub.requests


def test_a_wrong_token_is_told_with_what_to_do(proved: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match="hf auth login") as caught:
        push_folder(proved, NAME)
    assert caught.value.code == "hub-refused"


def test_a_repository_that_is_not_there_or_not_emls_is_told(hub: StandIn) -> None:
    with pytest.raises(CheckpointError, match="there is no such repository, or it is private") as caught:
        eml.load(f"hf-hub:{NAME}")
    assert caught.value.code == "hub-refused"
    hub.repositories[NAME] = Repository(private=False, files={"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(CheckpointError, match=f"is loaded by timm:hf-hub:{NAME}") as caught:
        eml.load(f"hf-hub:{NAME}")
    assert caught.value.code == "no-checkpoint"


def test_a_hub_that_cannot_be_reached_is_told(proved: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="cannot be reached") as caught:
        push_folder(proved, NAME)
    assert caught.value.code == "hub-unreachable"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"HF_HUB_OFFLINE is set\. The folder is ready: unset it, or set `dry_run`"
    ):
        push_folder(proved, NAME)
