"""What the hub does not give is one line, by the kind of its error; a path is never asked for."""

import errno

import httpx2
import pytest
from huggingface_hub import errors

from t2.errors import T2Error
from t2.hub import download
from t2.model_files import resolve_model


def answer(kind, status):
    """An error of the hub as its client raises it, over several lines."""
    request = httpx2.Request("GET", "https://huggingface.co/api/models/me/model")
    return kind("401 Client Error.\n\nCannot access it.", response=httpx2.Response(status, request=request))


def with_cause(error, cause):
    error.__cause__ = cause
    return error


NOT_CACHED = errors.LocalEntryNotFoundError("no snapshot")
CASES = [
    (answer(errors.GatedRepoError, 403), r"accepted its terms\. Accept them on https://huggingface\.co/me/model, then"),
    (answer(errors.RepositoryNotFoundError, 404), "no such repository, or it is private"),
    (answer(errors.RevisionNotFoundError, 404), "not its revision 'v2'"),
    (with_cause(NOT_CACHED, errors.OfflineModeIsEnabled("off")), "cannot be asked \\(HF_HUB_OFFLINE is set\\)"),
    (
        with_cause(errors.LocalEntryNotFoundError("no snapshot"), httpx2.ConnectError("no route")),
        r"cannot be asked \(ConnectError\)",
    ),
    (answer(errors.HfHubHTTPError, 500), r"did not serve it \(HfHubHTTPError\)"),
    (httpx2.ReadTimeout("slow"), r"did not serve it \(ReadTimeout\)"),
    (OSError(errno.ENOSPC, "No space left on device"), r"could not be kept \(No space left on device\)"),
]


@pytest.mark.parametrize(("error", "words"), CASES, ids=[type(error).__name__ + words[:20] for error, words in CASES])
def test_each_error_of_the_hub_is_one_line_that_says_what_to_do(monkeypatch, error, words):
    """Gated, missing and unreachable models all had the same line."""

    def raises(*args, **kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", raises)
    with pytest.raises(T2Error, match=f"Expected a model folder or hub id, got 'me/model': .*{words}") as caught:
        resolve_model("me/model", "v2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["./missing", "../missing", "/abs/missing", "/x", "a/b/c", "no/such/folder/", "~/x", "m" * 5000]
)
def test_a_path_is_not_asked_for(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(T2Error, match=r"no such folder, .* the hub was not asked") as caught:
        resolve_model(name)
    assert len(str(caught.value)) < 500


def test_patterns_and_revision_are_passed_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path))
    assert download("me/head", "main", "a head", only=["*.json"]) == tmp_path
    assert asked == [(("me/head",), {"revision": "main", "allow_patterns": ["*.json"], "ignore_patterns": None})]
