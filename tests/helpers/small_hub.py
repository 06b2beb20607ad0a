"""A hub of one data set on this machine: what `datasets` and `huggingface_hub` ask of huggingface.co, and no more."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Commits = dict[str, dict[str, bytes]]
"""Commit -> name of a file in the root -> content; the last one is what `main` means."""


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    commits: Commits
    name: str

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = urlsplit(self.path).path
        prefix = f"/api/datasets/{self.name}/paths-info/"
        if not path.startswith(prefix):
            return self._send(404, b"{}")
        files = self.commits[self._commit(unquote(path.removeprefix(prefix)))]
        asked = (
            json.loads(body)["paths"] if body.startswith("{") else [unquote(p.split("=")[1]) for p in body.split("&")]
        )
        return self._json([self._entry(each, files[each]) for each in asked if each in files])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, resolve = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if path == api or path.startswith(f"{api}/revision/"):
            commit = self._commit(path.removeprefix(api).removeprefix("/revision/") or "main")
            files = self.commits.get(commit, {})
            if not files:
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": each} for each in files]
            return self._json({"id": self.name, "sha": commit, "siblings": siblings, "private": False, "tags": []})
        if path.startswith(f"{api}/tree/"):
            commit, _, folder = path.removeprefix(f"{api}/tree/").partition("/")
            files = {} if folder else self.commits[self._commit(commit)]
            return self._json([self._entry(each, files[each]) for each in files])
        if path.startswith(resolve):
            commit, _, file = path.removeprefix(resolve).partition("/")
            commit = self._commit(commit)
            if commit not in self.commits:
                return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            if (content := self.commits[commit].get(file)) is None:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return self._send(200, content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": commit})
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _commit(self, revision: str) -> str:
        return list(self.commits)[-1] if revision == "main" else revision

    def _entry(self, name: str, content: bytes) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        start, end = 0, len(content)
        if status == 200 and (part := self.headers.get("Range")):
            first, _, last = part.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
            status = 206
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the output of a test is its own."""


@contextmanager
def small_hub(name: str, commits: Commits) -> Iterator[str]:
    """Serve a data set; gives the address for HF_ENDPOINT. `commits` may grow meanwhile."""
    handler = type("Handler", (_Handler,), {"commits": commits, "name": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
