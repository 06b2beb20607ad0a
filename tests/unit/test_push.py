"""`t2 push`: what goes to the hub and what is refused before; a hub that answers by itself, on localhost."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from helpers.exports import FEATURES, HEADS, NO_HEAD, VOTES, edit_config, randomised, record_of, save
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError

import t2
from t2.cli import main
from t2.errors import T2Error
from t2.export import save_head
from t2.head_record import HeadRecord
from t2.push import Push, check_no_local_path

INTERVAL = {"value": 0.7321, "low": 0.7, "high": 0.76}
METRICS = {"accuracy": INTERVAL, "generated_tokens": {**INTERVAL, "value": 41.23456}, "n_ref": 7}


def export(folder: Path, **changes: Any) -> Path:
    head = randomised(HEADS["CurveHead"][0]())
    return save(head, {**record_of(head, HEADS["CurveHead"][1]), "metrics": METRICS, **changes}, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return export(tmp_path / "head")


def edit_card(folder: Path, change: Callable[[str], str]) -> None:
    card = folder / "README.md"
    card.write_text(change(card.read_text(encoding="utf-8")), encoding="utf-8")


def pushed(folder: Path, **options: Any) -> Push:
    return Push.of(str(folder), options.pop("repo", "me/my-head"), **{"license": "apache-2.0", **options})


class FakeHub:
    """Keeps what it is asked for."""

    def __init__(self, private: bool = False, error: Exception | None = None) -> None:
        self.private, self.error = private, error
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.asked.append((f"create {repo_id}", options))

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.asked.append((f"branch of {repo_id}", options))

    def model_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id: str, folder_path: str | Path, **options: Any) -> None:
        self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        self.asked.append((f"upload to {repo_id}", options))


# What goes


def test_files_go_as_they_are_and_the_card_gets_licence_and_place(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    hub = FakeHub()
    push = pushed(folder, branch="v2")
    push.send(hub)
    assert [name for name, _ in hub.asked] == ["create me/my-head", "branch of me/my-head", "upload to me/my-head"]
    assert hub.asked[0][1] == {"private": None, "exist_ok": True}
    assert hub.asked[1][1] == {"branch": "v2", "exist_ok": True}
    assert hub.asked[2][1]["revision"] == "v2"
    assert "votes.safetensors" in hub.asked[2][1]["delete_patterns"], "an earlier head's must not stay"
    assert sorted(hub.files) == ["README.md", "config.json", "model.safetensors"]
    for name in ("config.json", "model.safetensors"):
        assert hub.files[name] == (folder / name).read_bytes()
    card = ModelCard(hub.files["README.md"].decode())
    assert (card.data.get("license"), card.data.get("base_model")) == ("apache-2.0", "org/model")
    assert 't2.BudgetHead.from_pretrained("me/my-head", "v2")' in card.text
    assert "license" not in (folder / "README.md").read_text(), "the export itself stays as it is"
    lines = "\n".join(push.lines())
    assert lines.startswith("To me/my-head, branch v2; the repository is made where it is missing, public:\n")
    assert f"{(folder / 'config.json').stat().st_size:,} bytes  config.json" in lines
    assert lines.endswith("Stays here, since it is no part of an export: notes.txt")


def test_what_was_pushed_is_a_head(folder: Path, tmp_path: Path) -> None:
    hub = FakeHub()
    pushed(folder, base_model="org/other").send(hub)
    (there := tmp_path / "there").mkdir()
    for name, content in hub.files.items():
        (there / name).write_bytes(content)
    head = t2.BudgetHead.from_pretrained(there)
    assert head.reads == ("org/other", None)
    assert head.record.base_model.fingerprint == "f" * 64, "it is still the same LLM"
    card = (there / "README.md").read_text(encoding="utf-8")
    assert 'head.activations(["a question"], "org/other")' in card, "a card that nobody edited is written anew"
    assert "org/model" not in card


def test_an_edited_card_keeps_its_words(folder: Path) -> None:
    edit_card(folder, lambda card: f"{card}\nTrained on a rainy day.\n")
    hub = FakeHub()
    pushed(folder, base_model="org/other").send(hub)
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.get("base_model") == "org/other"
    assert card.text.endswith("Trained on a rainy day.\n")


def test_the_llm_that_a_proxys_head_reads(tmp_path: Path) -> None:
    """The LLM that answered, here one behind an API, keeps its name."""
    features = {**FEATURES, "model_id": "my-copy", "model_revision": None}
    folder = export(tmp_path / "head", features=features, base_model={"id": "unknown", "revision": None})
    with pytest.raises(T2Error, match=r"Expected a hub id, owner/name, as `base_model` in .*, got 'unknown'"):
        pushed(folder)
    config = json.loads(pushed(folder, base_model="org/proxy").files["config.json"])
    assert config["features"]["model_id"] == "org/proxy"
    assert config["base_model"]["id"] == "unknown"


def test_a_stopping_rule_without_a_head_goes_too(tmp_path: Path) -> None:
    head = randomised(HEADS["CurveHead"][0]())
    record = {**record_of(head, NO_HEAD), "metrics": METRICS}
    folder = save_head(head, HeadRecord.from_json(record, "the test"), tmp_path, VOTES)
    assert sorted(pushed(folder).files) == ["README.md", "config.json", "votes.safetensors"]


def test_figures_in_the_header_are_those_of_the_record(folder: Path) -> None:
    (result,) = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])["model-index"][0]["results"]
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "accuracy": 0.7321, "generated_tokens": 41.2346,
    }  # fmt: skip
    (accuracy, _) = ModelCard(pushed(folder).files["README.md"].decode()).data.get("eval_results")
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", 0.7321)


# What is refused


@pytest.mark.parametrize(
    "repo", ["head", "a/b/c", "./heads/x", "/home/me/head", "https://hf.co/me/x", "me/..", "", "x" * 10**6]
)
def test_a_repository_that_is_none(folder: Path, repo: str) -> None:
    with pytest.raises(T2Error, match="Expected a hub id as owner/name to push to") as caught:
        pushed(folder, repo=repo)
    assert len(str(caught.value)) < 200


def test_a_repository_that_is_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two arguments in the wrong order, or a second folder."""
    monkeypatch.chdir(folder.parent.parent)
    name = f"{folder.parent.name}/head"
    with pytest.raises(T2Error, match=f"got a path that is there: '{name}'"):
        pushed(folder, repo=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.replace('base_model: "org/model"\n', ""), "as `base_model` in .*, got none. Say which LLM"),
        (lambda card: card.replace("org/model", "tiny-arith"), "as `base_model` in .*, got 'tiny-arith'"),
        (lambda card: card.replace("org/model", "/home/me/model"), "as `base_model` in .*, got '/home/me/model'"),
        (lambda card: card.replace("library_name: t2", "library_name: [t2"), "Expected a YAML header between .*README"),
        (lambda card: card.replace("library_name: t2", "- t2"), "Expected a YAML header between .*README"),
        (lambda card: card.partition("\n---\n")[2], "as `base_model` in .*, got none"),
        (lambda card: card.replace("model-index", "model-idnex"), r"Expected measured figures \(`model-index`\) in"),
        (lambda card: card.replace("metrics:", "metrisc:"), "Expected a YAML header between .*README"),
        (lambda card: f"{card}\nFrom /scratch/me/pools/x.\n", "Expected no path of a machine .* '/scratch/me/pools/x"),
    ],
)
def test_a_card_that_says_too_little_or_too_much(folder: Path, change: Callable[[str], str], message: str) -> None:
    edit_card(folder, change)
    with pytest.raises(T2Error, match=message) as caught:
        pushed(folder)
    assert "\n" not in str(caught.value)


def test_a_licence_is_needed_and_may_stand_in_the_card(folder: Path) -> None:
    with pytest.raises(T2Error, match=r"Expected a `license` in .*, got none\. .*`--license apache-2\.0`"):
        pushed(folder, license=None)
    edit_card(folder, lambda card: card.replace("library_name: t2\n", "library_name: t2\nlicense: mit\n"))
    assert b"license: mit\n" in pushed(folder, license=None).files["README.md"]


def test_an_export_that_is_none_or_damaged(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected the folder of an exported head, got org/head: no such folder"):
        Push.of("org/head", "me/x")
    with pytest.raises(T2Error, match=r"Expected an exported head with config\.json"):
        pushed(tmp_path)
    (folder / "README.md").unlink()
    with pytest.raises(T2Error, match="Expected the model card"):
        pushed(folder)
    shutil.rmtree(folder)
    (export(folder) / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(T2Error, match="Expected the head's weights"):
        pushed(folder)


def test_a_template_file_of_this_machine(folder: Path) -> None:
    prompt = {"template": "/data/me/chat.jinja", "system": "", "shots": [], "fingerprint": "a" * 64}
    edit_config(folder, prompt=prompt)
    with pytest.raises(T2Error, match=r"got '/data/me/chat\.jinja' in .*config\.json\. Put a name in its place"):
        pushed(folder)


@pytest.mark.parametrize(
    "text",
    [
        "/home/me/x",
        "see ~/pools",
        "C:\\heads\\x",
        'from "file:///x"',
        "(/mnt/a/b)",
        "at /gpfs/scratch/u1",
        "D:/heads/x",
    ],
)
def test_a_path_is_found(text: str) -> None:
    for name, content in (("README.md", text), ("config.json", json.dumps({"a": [{"b": text}]}))):
        with pytest.raises(T2Error, match="Expected no path of a machine"):
            check_no_local_path(name, content.encode(), Path("head"))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1/2 of 3/4/5",
            "https://huggingface.co/org/model",
            "org/model",
            "</think>",
            "tokens/s",
            "and/or",
            "a: b",
            "/",
        ),
        *("12 / 4 / 2", "2026/11/29", "docs/GUIDE.md", "ratio: 0.5", f"org{Path.home()}"),
    ],
)
def test_what_is_no_path_passes(text: str) -> None:
    for name, content in (("README.md", text), ("config.json", json.dumps({"a": text}))):
        check_no_local_path(name, content.encode(), Path("head"))


def test_what_the_llm_reads_may_have_slashes() -> None:
    prompt = {"template": "chat", "system": "Answer as /a/b/c.", "shots": [{"question": "/x/y", "answer": "~/z"}]}
    check_no_local_path("config.json", json.dumps({"prompt": prompt}).encode(), Path("head"))
    with pytest.raises(T2Error):
        check_no_local_path("config.json", json.dumps({"other": prompt}).encode(), Path("head"))


# The command, and the hub's answers


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server that answers as the hub does, and keeps what was committed; `status` makes it refuse everything."""
    state = SimpleNamespace(status=200, files={}, made=[], old=["votes.safetensors"], private=False)

    class Answers(BaseHTTPRequestHandler):
        def answer(self, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(state.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            if "/tree/" in self.path:
                self.answer([{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in state.old])
            else:
                siblings = [{"rfilename": name} for name in state.old]
                self.answer({"id": "me/my-head", "private": state.private, "siblings": siblings, "sha": "0" * 40})

        def do_POST(self) -> None:
            body = self.body()
            if state.status != 200:
                self.answer({"error": "You shall not pass"})
            elif self.path == "/api/repos/create":
                state.made.append(json.loads(body))
                self.answer({"url": f"{address}/me/my-head", "name": "me/my-head", "id": "me/my-head"})
            elif "/preupload/" in self.path:
                names = [each["path"] for each in json.loads(body)["files"]]
                self.answer(
                    {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
                )
            elif "/commit/" in self.path:
                for line in map(json.loads, body.decode().splitlines()):
                    if line["key"] == "file":
                        state.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                    elif line["key"] == "deletedFile":
                        state.old.remove(line["value"]["path"])
                self.answer({"commitUrl": f"{address}/me/my-head/commit/{'1' * 40}", "commitOid": "1" * 40})
            else:  # validate-yaml, branch
                state.made.append(self.path)
                self.answer({"errors": [], "warnings": []})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **options: HfApi(endpoint=address, token="hf_x", **options))
    yield state
    server.shutdown()
    server.server_close()


def test_the_command_makes_the_repository_and_uploads(
    folder: Path, hub: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["push", str(folder), "me/my-head", "--license", "mit", "--branch", "v2"])
    out = capsys.readouterr().out
    assert "Sent. To use it: t2.BudgetHead.from_pretrained('me/my-head', 'v2')" in out
    assert hub.made[0]["name"] == "my-head"
    assert "/api/models/me/my-head/branch/v2" in hub.made
    assert sorted(hub.files) == ["README.md", "config.json", "model.safetensors"]
    assert hub.old == [], "votes of an earlier head are gone"
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    assert t2.BudgetHead.from_pretrained(tmp_path).grid == (1, 3, 5, 7)


def test_a_dry_run_sends_nothing(folder: Path, hub: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    main(["push", str(folder), "me/my-head", "--license", "mit", "--dry_run", "true", "--private", "true"])
    out = capsys.readouterr().out
    assert "To me/my-head, the main branch; the repository is made where it is missing, private:" in out
    assert "bytes  model.safetensors" in out
    assert out.endswith("A dry run: nothing was sent.\n")
    assert hub.made == []
    assert hub.files == {}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "Expected a token that the hub knows, got none or another (You shall not pass). Log in: `hf auth login`"),
        (403, "Expected a token that may write to me/my-head, got one that may not (You shall not pass)"),
        (400, "Expected the hub to take me/my-head, got HTTP 400: You shall not pass"),
    ],
)
def test_the_hubs_refusal_is_one_line(
    folder: Path, hub: SimpleNamespace, capsys: pytest.CaptureFixture[str], status: int, message: str
) -> None:
    hub.status = status
    with pytest.raises(SystemExit, match="2"):
        main(["push", str(folder), "me/my-head", "--license", "mit"])
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}"), error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_what_everybody_can_read_is_not_pushed_to_as_private(folder: Path, hub: SimpleNamespace) -> None:
    """`create_repo` leaves a repository that is there as it is."""
    with pytest.raises(T2Error, match="Expected a private repository me/my-head, got one that everybody can read"):
        pushed(folder, private=True).send(huggingface_hub.HfApi())
    assert hub.files == {}
    hub.private = True
    pushed(folder, private=True).send(huggingface_hub.HfApi())
    assert hub.files


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("Token is required"), "Expected a token that the hub knows"),
        (
            ConnectionError("no route\nto host"),
            "Expected to reach the hub for me/my-head, got ConnectionError: no route to",
        ),
        (ValueError("`a: b` is no metadata"), "Expected to reach the hub"),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line(folder: Path, error: Exception, message: str) -> None:
    with pytest.raises(T2Error, match=message) as caught:
        pushed(folder).send(FakeHub(error=error))
    assert "\n" not in str(caught.value)


def test_offline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["push", str(folder), "me/my-head", "--license", "mit"])
    assert "got HF_HUB_OFFLINE. Unset it, or look with `--dry_run true`." in capsys.readouterr().err
