"""`t2 import`: any stored multi-sample output becomes a pool, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2.errors import T2Error, quoted
from t2.grading.given import GIVEN, grader_named
from t2.hashing import sha256_of_file
from t2.importing.notes import source_notes
from t2.importing.rows import ImportedRows
from t2.importing.sample_file import read_sample_file
from t2.importing.token_counter import TokenCounter
from t2.store.pool_spec import PoolSpec, check_or_create_spec, read_spec
from t2.store.schema import PoolPaths


@dataclass(frozen=True)
class ImportSummary:
    """The pool that an import wrote, or that was there already."""

    pool: Path
    already_there: bool
    """this very file was imported before, and nothing was written"""
    source: dict[str, Any]
    """as pool.json has it"""
    cost_unit: str
    regraded: bool = False
    """a grader was named, which reads the texts itself"""

    def lines(self) -> Iterator[str]:
        source = self.source
        verb = "was imported before, nothing to do:" if self.already_there else "imported:"
        yield _utf8(
            f"{source['file']} {verb} {source['questions']} questions, {source['samples']} samples -> {self.pool}"
        )
        yield from source_notes(source, self.cost_unit, self.regraded)


def import_file(
    path: str, pool: str, grader: str | None = None, tokenizer: str | None = None, model: str | None = None
) -> ImportSummary:
    """Turn a JSONL file of questions with sampled answers into a pool.

    A `grader` ("numeric" or "exact") grades the samples again; by default the file's flags or string equality count.
    The `tokenizer` (folder or hub id) counts tokens which the file does not give; `model` is for the record.

    Raises:
        T2Error: bad file, unknown grader or tokenizer, or a pool that is something else already.
    """
    file, target = Path(path), Path(os.path.realpath(pool))
    default_grader = None if grader in (None, GIVEN) else grader
    judge = grader_named(default_grader or GIVEN)
    identity = _identity(file, tokenizer)
    spec = _spec(identity, _utf8(model or "unknown"), default_grader, "tokens")
    if _is_taken(target):
        there = _same_import(PoolPaths(target), spec)
        return ImportSummary(Path(pool), True, there.source or {}, there.cost_unit, default_grader is not None)
    scratch = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        scratch.mkdir(parents=True)
        work = ImportedRows(PoolPaths(scratch), judge, TokenCounter(tokenizer), f"import-{identity['sha256'][:12]}")
        for given in read_sample_file(file):
            work.add(given)
        source = {**identity, **work.finish(file)}
        spec = _spec(source, spec.model["id"], default_grader, work.counter.unit)
        check_or_create_spec(work.paths, spec)
        os.rename(scratch, target)  # only now is there a pool of this name: a broken import leaves none
    except (OSError, pa.ArrowException) as error:
        raise T2Error(f"Expected to write the pool {target}, got: {error}. Check the folder.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ImportSummary(Path(pool), False, source, spec.cost_unit, default_grader is not None)


def _identity(file: Path, tokenizer: str | None) -> dict[str, Any]:
    """The first keys of `source`: the file and what counts its tokens, without folders.

    Raises:
        T2Error: no such file, or one that cannot be read.
    """
    try:
        if not file.is_file():
            raise T2Error(f"Expected a file of samples, got {file}. Check the path.")
        sha256 = sha256_of_file(file)
    except OSError as error:
        raise T2Error(f"Expected a file of samples, got {quoted(str(file))}: {error.strerror}. Check it.") from error
    name = Path(tokenizer).resolve().name if tokenizer and os.path.isdir(tokenizer) else tokenizer
    return {"file": _utf8(file.name), "sha256": sha256, "tokenizer": name and _utf8(name)}


def _is_taken(target: Path) -> bool:
    """Whether something lies where the pool should be.

    Raises:
        T2Error: nothing can lie there.
    """
    if str(target) != _utf8(str(target)):  # which pyarrow could not open
        raise T2Error(
            f"Expected a folder as `--pool` whose path UTF-8 can hold, got {str(target)[-60:]!r}. Choose another."
        )
    try:
        return target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:  # as a name that is too long
        raise T2Error(f"Expected a folder as `--pool`, got {quoted(str(target))}: {error.strerror}.") from error


def _utf8(name: str) -> str:
    """A name that UTF-8 can hold: those of files may be any bytes, which Python passes on as surrogates."""
    return name.encode("utf-8", "replace").decode()


def _spec(source: dict[str, Any], model: str, default_grader: str | None, cost_unit: str) -> PoolSpec:
    """The pool's identity: what is unknown is null."""
    name = f"imported-{source['sha256'][:16]}"
    unknown = dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens", "stop"))
    return PoolSpec(
        model={"id": model, "revision": None, "fingerprint": name, "num_layers": None, "width": None},
        prompt={"template": None, "system": None, "shots": None, "fingerprint": name},
        sampling=unknown,
        source=source,
        default_grader=default_grader,
        cost_unit=cost_unit,
    )


def _same_import(paths: PoolPaths, wanted: PoolSpec) -> PoolSpec:
    """The spec of the pool that lies at `paths` if it comes from the same file with the same options.

    Raises:
        T2Error: it does not.
    """
    if not paths.spec.is_file():
        raise T2Error(
            f"Expected an empty or new folder, got {paths.root} with something else. Choose another `--pool`."
        )
    there = read_spec(paths)
    if there.source is None:
        raise T2Error(f"Expected a new pool, got {paths.root}, which t2 label fills. Choose another `--pool`.")
    source = wanted.source or {}
    pairs = {
        "file": (there.source["sha256"][:12], source["sha256"][:12]),
        "--tokenizer": (there.source["tokenizer"], source["tokenizer"]),
        "--model": (there.model["id"], wanted.model["id"]),
        "--grader": (there.default_grader, wanted.default_grader),
    }
    if other := [f"{name} {mine} there, {theirs} asked" for name, (mine, theirs) in pairs.items() if mine != theirs]:
        raise T2Error(
            f"Expected the import that {paths.root} holds ({there.source['file']}), got a difference in "
            f"{'; '.join(other)}. Choose another `--pool`."
        )
    return there
