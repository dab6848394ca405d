"""A hub folder on the hub, from the cache without asking, else downloaded: only the files of eml's checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eml.errors import CheckpointError
from eml.models.hub import why_unreachable
from eml.models.hub_folder import CHECKPOINT, FACTS, HUB, WEIGHTS, is_hub_folder, read_hub_facts

_PATTERNS = [WEIGHTS, f"{CHECKPOINT}/**"]


def downloaded_folder(name: str) -> Path:
    """Return the folder in the cache of a repository that `eml push` filled.

    Args:
        name: `hf-hub:OWNER/NAME`, with `@REVISION` where it is not the newest.

    Raises:
        CheckpointError: There is no such repository, eml did not write it, or it is not in the cache and the hub
            cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download

    repository, _, revision = name.removeprefix(HUB).partition("@")
    with _messages(name):
        folder = _cached(repository, revision or None)
        if folder is not None:
            return folder
        problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable()
        if problem:
            text = (
                f"{name}: is not in the cache, {constants.HF_HUB_CACHE}, and {problem}. Copy the cache of a machine "
                "that has it (HF_HOME says where it is), or the folder itself"
            )
            raise CheckpointError(text, code="weights-unavailable")
        with _without_bars():
            folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=_PATTERNS))
        if is_hub_folder(folder):
            return folder
        text = (
            f"{name}: eml did not write this repository; a model of timm in it is loaded by timm:{name}, and one of "
            f"open_clip by open_clip:{name}"
        )
        raise CheckpointError(text, code="no-checkpoint")


def _cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a repository in the cache where it is whole; else None."""
    from huggingface_hub import try_to_load_from_cache

    facts = try_to_load_from_cache(repository, f"{CHECKPOINT}/{FACTS}", revision=revision)
    if not isinstance(facts, str):
        return None
    folder = Path(facts).parents[1]
    own = [file for file in read_hub_facts(folder).files if file == WEIGHTS or file.startswith(f"{CHECKPOINT}/")]
    return folder if all((folder / file).is_file() for file in own) else None


@contextmanager
def _messages(name: str) -> Iterator[None]:
    """Make the hub's refusals errors that say what to do."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        yield
    except HFValidationError as error:
        text = f"{name}: write {HUB}OWNER/NAME, such as {HUB}somebody/products"
        raise CheckpointError(text, code="no-checkpoint") from error
    except GatedRepoError as error:
        text = f"{name}: its owner grants access on the hub; ask for it there, then log in: hf auth login"
        raise CheckpointError(text, code="hub-refused") from error
    except RepositoryNotFoundError as error:
        text = f"{name}: there is no such repository, or it is private: log in with hf auth login, or set HF_TOKEN"
        raise CheckpointError(text, code="hub-refused") from error
    except HfHubHTTPError as error:
        reason = str(error.server_message or error).strip().splitlines()[0]
        raise CheckpointError(f"{name}: the hub refuses: {reason}", code="hub-refused") from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the hub's client from printing while files are downloaded."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
