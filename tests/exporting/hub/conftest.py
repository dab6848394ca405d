"""A hub folder with a proof, and a hub on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eml.exporting.hub.folder import write_hub_folder
from eml.exporting.hub.seal import seal
from tests.exporting.small_models import small_model
from tests.stand_in_hub import TOKEN, StandIn, stand_in_hub


def write_proved_folder(folder: Path, *, passed: bool = True, neck: str = "identity") -> Path:
    """Write a hub folder whose proof, of which only the outcome matters here, passed or failed."""
    write_hub_folder(small_model(neck=neck), folder)
    proof = {"passed": passed, "problems": [] if passed else ["the least cosine is .5"]}
    (folder / "eml/export.json").write_text(json.dumps({"proof": proof}), encoding="utf-8")
    (folder / "README.md").write_text("# A model\n", encoding="utf-8")
    seal(folder)
    return folder


@pytest.fixture(scope="session")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub folder that may be uploaded; no test changes it."""
    return write_proved_folder(tmp_path_factory.mktemp("proved") / "products")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """A hub on this machine, with its client logged in, and an empty cache."""
    from huggingface_hub import constants

    with stand_in_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield served
