"""`t2 push`: an exported head to the hub. What goes is checked first; a dry run shows it and sends nothing."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from t2.activations.lora import ADAPTER_CONFIG_FILE, ADAPTER_FOLDER
from t2.budget_head import BudgetHead
from t2.errors import T2Error, quoted
from t2.export import CARD_FILE, CONFIG_FILE, EXPORT_FILES
from t2.head_record import HeadRecord
from t2.hub import is_hub_id
from t2.model_card import model_card

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_PATHS = re.compile(
    r"(?<![\w./:<-])~?/[\w.@+-]+/[\w.@+/-]+"  # /home/me/heads, also after ~; two folders at least: "1/2" is none
    r"|~/[\w.@+/-]+"
    r"|\b[A-Za-z]:[\\/]+[\w.@+\\/-]+"  # C:\heads
    r"|\bfile:/[^\s\"']+"
)
_READ_BY_THE_LLM = (("prompt", "system"), ("prompt", "shots"))
"""Keys of the config whose texts are part of every prompt: slashes in them are the user's words."""


class Hub(Protocol):
    """What is asked of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, private: bool | None = None, exist_ok: bool = False) -> object: ...
    def create_branch(self, repo_id: str, *, branch: str, exist_ok: bool = False) -> None: ...
    def model_info(self, repo_id: str) -> RepoInfo: ...
    def upload_folder(
        self,
        *,
        repo_id: str,
        folder_path: str | Path,
        revision: str | None = None,
        commit_message: str | None = None,
        delete_patterns: list[str] | str | None = None,
    ) -> object: ...


class RepoInfo(Protocol):
    """What is asked of `huggingface_hub.ModelInfo`."""

    @property
    def private(self) -> bool | None: ...


@dataclass(frozen=True)
class Push:
    """A head that may go to the hub: checked, and not sent yet."""

    repo: str
    """owner/name"""
    branch: str | None
    """None: the repository's main branch"""
    private: bool
    files: dict[str, bytes]
    """name -> content as it goes"""
    left_out: tuple[str, ...]
    """names of what lies in the folder and does not go"""

    @classmethod
    def of(
        cls,
        head: str,
        repo: str,
        branch: str | None = None,
        private: bool = False,
        license: str | None = None,
        base_model: str | None = None,
    ) -> Push:
        """Read an export and check all of it. Nothing is sent.

        Args:
            head: folder of the export.
            repo: hub id, owner/name.
            branch: to push to; made where it is missing.
            private: a repository that is made is private, and one that is there must be.
            license: of the head, as "apache-2.0"; into the card that goes.
            base_model: hub id of the LLM that the head reads; into card and config that go.

        Raises:
            T2Error: no such export, no hub id, a card that lacks something, or a path of this machine in a file.
        """
        folder = Path(head)
        if not folder.is_dir():
            raise T2Error(f"Expected the folder of an exported head, got {head}: no such folder. See `export.folder`.")
        _check_repo(repo)
        record = BudgetHead.from_pretrained(folder).record
        files = {name: (folder / name).read_bytes() for name in EXPORT_FILES if (folder / name).is_file()}
        if CARD_FILE not in files:
            raise T2Error(f"Expected the model card {folder / CARD_FILE}, got none. Export the head again.")
        text = files[CARD_FILE].decode("utf-8", errors="replace")
        if base_model is not None:
            if not is_hub_id(base_model):
                raise T2Error(f"Expected `--base_model` to be a hub id as owner/name, got {quoted(base_model)}.")
            changed = reading_from(record, base_model)
            # A card that nobody has edited is written anew; in one that somebody has, only the header changes.
            text = model_card(changed) if text == model_card(record) else text
            if (adapter := f"{ADAPTER_FOLDER}/{ADAPTER_CONFIG_FILE}") in files:
                settings = {**json.loads(files[adapter]), "base_model_name_or_path": base_model}
                files[adapter] = json.dumps(settings, indent=2).encode()
            files[CONFIG_FILE] = _config_reading_from(files[CONFIG_FILE], base_model, bool(_proxy(record)))
        where = f'"{repo}", "{branch}"' if branch else f'"{repo}"'
        text = text.replace('from_pretrained("this folder")', f"from_pretrained({where})")
        card = card_with(text, folder / CARD_FILE, license, base_model)
        files[CARD_FILE] = str(card).encode()
        for name, content in files.items():
            check_no_local_path(name, content, folder)
        going = {name.split("/")[0] for name in files}
        left_out = sorted(path.name for path in folder.iterdir() if path.name not in going)
        return cls(repo, branch, private, files, tuple(left_out))

    def lines(self) -> Iterator[str]:
        """What would go where."""
        seen = "private" if self.private else "public"
        at = f"branch {self.branch}" if self.branch else "the main branch"
        yield f"To {self.repo}, {at}; the repository is made where it is missing, {seen}:"
        yield from (f"  {len(content):>12,} bytes  {name}" for name, content in self.files.items())
        if self.left_out:
            yield f"Stays here, since it is no part of an export: {', '.join(self.left_out)}"

    def send(self, hub: Hub) -> None:
        """Make repository and branch where they are missing, and upload all files in one commit.

        Raises:
            T2Error: the hub refuses, or cannot be reached.
        """
        from httpx import HTTPError  # huggingface_hub's own errors are of these kinds too
        from huggingface_hub.errors import LocalTokenNotFoundError

        try:
            hub.create_repo(self.repo, private=self.private or None, exist_ok=True)
            if self.private and not hub.model_info(self.repo).private:
                raise T2Error(
                    f"Expected a private repository {self.repo}, got one that everybody can read. Make it private on "
                    "the hub, or push without `--private`."
                )
            if self.branch:
                hub.create_branch(self.repo, branch=self.branch, exist_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                for name, content in self.files.items():
                    path = Path(scratch) / name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content)
                hub.upload_folder(
                    repo_id=self.repo,
                    folder_path=scratch,
                    revision=self.branch,
                    commit_message="Budget head, exported by t2",
                    # A head that was there before may have had weights or votes that this one has not.
                    delete_patterns=list(EXPORT_FILES),
                )
        except (HTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
            raise T2Error(why_not_sent(error, self.repo)) from error


def reading_from(record: HeadRecord, model: str) -> HeadRecord:
    """The record of a head that reads the activations of an LLM of this id; its fingerprint says that it is the same.

    A head that reads a proxy keeps the name of the LLM that answered.
    """
    if record.features is not None and _proxy(record):
        return replace(record, features=replace(record.features, model_id=model))
    return replace(record, base_model=replace(record.base_model, id=model))


def card_with(text: str, where: Path, license: str | None = None, base_model: str | None = None) -> ModelCard:
    """A model card with all that the hub should know.

    Args:
        text: Markdown with a YAML header.
        where: it is from, for the error.
        license: into the header.
        base_model: into the header.

    Raises:
        T2Error: no header, one that is no YAML, or one without LLM, licence or measured figures.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        card = ModelCard(text)
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        words = " ".join(str(error).split())[:120]
        raise T2Error(f"Expected a YAML header between two lines `---` in {where}, got: {words}.") from error
    for key, value in (("license", license), ("base_model", base_model)):
        if value is not None:
            setattr(card.data, key, value)
    named = card.data.get("base_model")
    if not (isinstance(named, str) and is_hub_id(named)):
        got = "none" if named is None else quoted(str(named))
        raise T2Error(
            f"Expected a hub id, owner/name, as `base_model` in {where}, got {got}. Say which LLM the head reads: "
            "`--base_model OWNER/NAME`."
        )
    if not card.data.get("license"):
        raise T2Error(
            f"Expected a `license` in {where}, got none. Say under which licence others may use the head: as in "
            "`--license apache-2.0`."
        )
    if not card.data.get("eval_results"):  # what the hub's reader makes of `model-index`
        raise T2Error(
            f"Expected measured figures (`model-index`) in {where}, got none. Export the checkpoint again: t2 export "
            "CHECKPOINT --folder FOLDER"
        )
    return card


def check_no_local_path(name: str, content: bytes, folder: Path) -> None:
    """Refuse a file that says where something lies on this machine.

    Raises:
        T2Error: quotes the first path.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return  # tensors
    texts = list(_texts(json.loads(text))) if name.endswith(".json") else [text]
    mine = "|".join(re.escape(str(path)) for path in (folder.resolve(), Path.home()))
    for each in texts:
        if found := _PATHS.search(each) or re.search(rf"(?<![\w.-])(?:{mine})(?!\w)", each):
            raise T2Error(
                f"Expected no path of a machine in what goes to the hub, got {quoted(found.group())} in "
                f"{folder / name}. Put a name in its place, and push again."
            )


def why_not_sent(error: Exception, repo: str) -> str:
    """What went wrong between here and the hub, in one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    words = " ".join((getattr(error, "server_message", None) or str(error)).split())[:160]
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return (
            f"Expected a token that the hub knows, got none or another ({words or '401'}). Log in: `hf auth login`, "
            "or set HF_TOKEN."
        )
    if status == 403:
        return f"Expected a token that may write to {repo}, got one that may not ({words or '403'}). Use another one."
    if status is not None:
        return f"Expected the hub to take {repo}, got HTTP {status}: {words}."
    if isinstance(error, OfflineModeIsEnabled):
        return f"Expected to reach the hub for {repo}, got HF_HUB_OFFLINE. Unset it, or look with `--dry_run true`."
    return (
        f"Expected to reach the hub for {repo}, got {type(error).__name__}: {words}. Check your network; nothing "
        "was changed here."
    )


def _check_repo(repo: str) -> None:
    if not is_hub_id(repo):
        raise T2Error(f"Expected a hub id as owner/name to push to, got {quoted(repo)}.")
    if Path(repo).exists():  # two folders, or the arguments in the wrong order
        raise T2Error(f"Expected a hub id as owner/name to push to, got a path that is there: {quoted(repo)}.")


def _proxy(record: HeadRecord) -> str | None:
    return record.features.model_id if record.features else None


def _config_reading_from(content: bytes, model: str, is_proxy: bool) -> bytes:
    """`config.json` with another id of the LLM that is read; all else, known or not, stays as it is."""
    config = json.loads(content)
    if is_proxy:
        config["features"]["model_id"] = model
    else:
        config.setdefault("base_model", {})["id"] = model
    return (json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _texts(value: object, where: tuple[str, ...] = ()) -> Iterator[str]:
    """All texts of a JSON value, but those that the LLM reads."""
    if where in _READ_BY_THE_LLM:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (key, *_texts(part, (*where, key)))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, where)
