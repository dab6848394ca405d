"""Upload a hub folder: what eml wrote and proved, and nothing else of what lies in it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.errors import CheckpointError, ConfigError
from eml.exporting.hub.seal import proof_problem, sealed_files
from eml.files import digest_of, is_within
from eml.models.hub import why_unreachable
from eml.models.hub_folder import CHECKPOINT, is_hub_folder, read_hub_facts
from eml.progress import Progress, no_progress

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_OWN = re.compile(rf"(\d+_(Dense|Normalize)|{CHECKPOINT})/.+")
"""Paths in a repository of which eml writes all, so that what an earlier push left there is removed."""


@dataclass(frozen=True)
class Pushed:
    """The outcome of an upload.

    Attributes:
        folder: The hub folder.
        repository: OWNER/NAME.
        url: Where it is; empty: nothing was uploaded.
        private: Whether only its owner sees it.
        files: The paths that were uploaded, or would be.
        bytes: Of them all.
        removed: Paths of an earlier upload that are no longer part of it.
    """

    folder: Path
    repository: str
    url: str
    private: bool
    files: list[str]
    bytes: int
    removed: list[str]


def push_folder(
    folder: Path,
    repository: str,
    *,
    public: bool = False,
    message: str | None = None,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Pushed:
    """Upload a hub folder to a repository, which is made if it is not there.

    Args:
        folder: As `eml export` wrote it, with a passed proof.
        repository: OWNER/NAME.
        public: Whether a new repository is visible to all.
        message: Of the commit; None: the name of eml.
        dry_run: Only check, and ask nothing of the network.
        progress: Shows that files are uploaded.

    Raises:
        ConfigError: The repository's name is none, the package is missing, or it is public and should not be.
        CheckpointError: The folder is no hub folder, was changed since its proof, or its proof failed; or the hub
            refuses, or cannot be reached.
    """
    if not _REPOSITORY.fullmatch(repository):
        text = f"`repository` must be OWNER/NAME, such as somebody/products, got {repository!r}"
        raise ConfigError(text, code="invalid-value", parameter="repository")
    files = files_to_push(folder)
    size = sum((folder / file).stat().st_size for file in files)
    if dry_run:
        return Pushed(folder, repository, "", not public, files, size, [])
    hub = _package()
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(_unasked("HF_HUB_OFFLINE is set", "unset it"), code="hub-unreachable")
    if why := why_unreachable():
        raise CheckpointError(_unasked(why, "try again with a network"), code="hub-unreachable")
    api = hub.HfApi()
    with _refusals(repository), progress(f"uploading to {repository}", None):
        api.create_repo(repository, private=not public, exist_ok=True)
        is_private = bool(api.model_info(repository).private)
        if not is_private and not public:
            text = f"{repository} is there and public: everybody could read the model; set `public`, or name another"
            raise ConfigError(text, code="already-public", parameter="public")
        stale = [path for path in api.list_repo_files(repository) if _OWN.fullmatch(path) and path not in files]
        operations: list[Any] = [hub.CommitOperationAdd(path, str(folder / path)) for path in files]
        operations += [hub.CommitOperationDelete(path) for path in stale]
        api.create_commit(repository, operations, commit_message=message or "Upload a model of eml export")
    return Pushed(folder, repository, f"{constants.ENDPOINT}/{repository}", is_private, files, size, stale)


def files_to_push(folder: Path) -> list[str]:
    """Return the paths of a hub folder that are uploaded, after checking that they are what was proven.

    Raises:
        CheckpointError: It is no hub folder, was changed, or has no passed proof.
    """
    if not is_hub_folder(folder):
        text = f"{folder}: there is no such folder"
        if folder.exists():
            kind = "is no hub folder" if folder.is_dir() else "is a file and no hub folder"
            text = f"{folder}: {kind}; eml export with `format` hub writes one, which can be pushed"
        raise CheckpointError(text, code="not-a-hub-folder", parameter="folder")
    facts = read_hub_facts(folder)
    changed = [file for file, stored in facts.files.items() if digest_of(folder / file) != stored]
    if changed:
        lines = [f"{folder / file}: is not as eml export wrote it" for file in changed]
        lines.append("export the model again: the proof is of what was written then")
        raise CheckpointError(lines, code="changed-file", parameter="folder")
    if problem := proof_problem(folder):
        raise CheckpointError(problem, code="not-proven", parameter="folder")
    files = sealed_files(folder, facts)
    if outside := [file for file in files if not is_within(folder / file, folder)]:
        text = f"{folder / outside[0]}: leads out of the folder, and only what lies in it is uploaded; put a copy there"
        raise CheckpointError(text, code="changed-file", parameter="folder")
    return files


def _unasked(reason: str, remedy: str) -> str:
    return (
        f"nothing was uploaded: {reason}. The folder is ready: {remedy}, or set `dry_run` to check what would be "
        "uploaded, which asks nothing of the network"
    )


def _package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        text = "eml push needs the huggingface_hub package: pip install 'easy-metric-learning[hub]'"
        raise ConfigError(text, code="missing-package") from error
    return huggingface_hub


@contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """Make the hub's refusals errors that say what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise CheckpointError(_login(repository, "no token is stored"), code="hub-refused") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = str(error.server_message or error).strip().splitlines()[0]
        text = f"{repository}: the hub refuses ({status}: {reason})"
        if status in (401, 403):
            text = _login(repository, f"{status}: {reason}")
        raise CheckpointError(text, code="hub-refused") from error


def _login(repository: str, reason: str) -> str:
    return (
        f"{repository}: the hub refuses ({reason}). Log in with a token that may write there: hf auth login, or set "
        "HF_TOKEN"
    )
