"""Files from the Hugging Face hub, and one line about each way in which it does not give them."""

from __future__ import annotations

from pathlib import Path

from t2.errors import T2Error, quoted


def download(
    name: str, revision: str | None, expected: str, only: list[str] | None = None, without: list[str] | None = None
) -> Path:
    """Folder of a hub repository's files, by their patterns. What cannot be a hub id is not asked for.

    Raises:
        T2Error: the hub does not serve it; `expected` says what it should have been.
    """
    from huggingface_hub import snapshot_download

    begin = f"Expected {expected}, got {quoted(name, 200)}: "
    if not _is_repository(name):
        raise T2Error(
            f"{begin}no such folder, and a hub id would be `owner/name`. Check the path: the hub was not asked."
        )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=only, ignore_patterns=without))
    except Exception as error:  # besides the hub's own errors those of two HTTP libraries, in the midst of a download
        raise T2Error(begin + _why_not_served(error, name, revision)) from error


def is_hub_id(name: str) -> bool:
    """Whether it is owner/name in letters that the hub takes; it need not be there."""
    return name.count("/") == 1 and _is_repository(name)


def _is_repository(name: str) -> bool:
    """Old repositories of the hub have no owner."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, though not in `__all__`

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _why_not_served(error: Exception, name: str, revision: str | None) -> str:
    """What is the matter, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    nowhere = "no such folder, and the hub"
    if isinstance(error, GatedRepoError):  # a kind of `RepositoryNotFoundError`
        return (
            f"the hub has it, but only for accounts that have accepted its terms. Accept them on "
            f"https://huggingface.co/{name}, then run `hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{nowhere} has no such repository, or it is private. Check the spelling; for a private one run "
            "`hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has it, but not its revision {quoted(str(revision))}. Check `revision`."
    if isinstance(error, LocalEntryNotFoundError):
        cause = error.__cause__
        offline = cause is None or type(cause).__name__ == "OfflineModeIsEnabled"
        reason = "HF_HUB_OFFLINE is set" if offline else type(cause).__name__
        return f"{nowhere} cannot be asked ({reason}), and its cache has no whole copy. Check the path, or go online."
    if isinstance(error, OSError) and error.errno is not None:  # as where the disk is full
        return f"its files could not be kept ({error.strerror}). Make room, or set HF_HOME to another disk."
    return f"{nowhere} did not serve it ({type(error).__name__}). Check your network, and try again."
