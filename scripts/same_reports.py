"""Whether two folders hold the same report or curse, number for number: what a change of the code alone must not move.

    python scripts/same_reports.py BEFORE AFTER [--dropped NAME ...] [--changed PART_OF_A_PATH ...]

Compares report.json, or curse.json where there is none, to the last digit. Rows, rungs and claims are matched by their
names, so that a dropped one is a line and not a shift of all that follow. Prints what was removed, what was added, and
the path of every value that differs. What was added, rows named with `--dropped` and values whose path has a part named
with `--changed` may differ; anything else ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = ("report.json", "curse.json")


def by_name(items: list[Any]) -> dict[str, Any] | None:
    """List items by what names them, if all of them have a name of their own."""
    named: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict):
            return None
        name = item.get("name") or " / ".join(str(item[key]) for key in ("letter", "first", "second") if key in item)
        if not name or name in named:
            return None
        named[name] = item
    return named


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """What kind of difference ("removed", "added", "differs"), where, and the values."""
    if isinstance(before, list) and isinstance(after, list):
        mine, theirs = by_name(before), by_name(after)
        if mine is not None and theirs is not None:
            before, after = mine, theirs
            common = [name for name in before if name in after]
            if common != [name for name in after if name in before]:
                yield "differs", path, "order"
        elif len(before) == len(after):
            before, after = dict(enumerate(before)), dict(enumerate(after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        # Floats are written so that they come back exactly: equal text is an equal number, also in its last digit.
        if json.dumps(before) != json.dumps(after):
            yield "differs", path, f"{json.dumps(before)} -> {json.dumps(after)}"
        return
    for key in before:
        if key in after:
            yield from differences(before[key], after[key], f"{path}/{key}")
        else:
            yield "removed", f"{path}/{key}", ""
    yield from (("added", f"{path}/{key}", "") for key in after if key not in before)


def report_in(folder: Path) -> Path:
    """The file that is compared."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise SystemExit(f"error: Expected {' or '.join(FILES)} in {folder}, got neither. Run `t2 report` or `t2 curse`.")


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; 0 if nothing but what may differ does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--dropped", nargs="*", default=[], help="names of rows that may be missing")
    parser.add_argument("--changed", nargs="*", default=[], help="parts of paths of values that may differ")
    options = parser.parse_args(arguments)
    files = [report_in(folder) for folder in (options.before, options.after)]
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    allowed, bad = [], []
    for difference in differences(before, after):
        kind, path, _ = difference
        may_be = {"removed": path.rsplit("/", 1)[1] in options.dropped, "added": True}
        is_allowed = may_be.get(kind, any(part in path for part in options.changed))
        (allowed if is_allowed else bad).append(difference)
    print(f"{files[0]} -> {files[1]}")
    for title, items in (("may differ", summed_up(allowed)), ("DIFFERS", bad)):
        for kind, path, values in items:
            print(f"  {title}: {kind} {path} {values}".rstrip())
    print(f"{len(bad)} differences that may not be" if bad else "everything else is the same to the last digit")
    return int(bool(bad))


def summed_up(items: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """A field that every row has gained once, with the number of rows."""
    places: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for item in items:
        kind, path, _ = item
        places.setdefault((kind, path.rsplit("/", 1)[1] if kind == "added" else path), []).append(item)
    return [
        (kind, path, f"and in {len(same) - 1} more" if len(same) > 1 else values)
        for same in places.values()
        for kind, path, values in same[:1]
    ]


if __name__ == "__main__":
    sys.exit(main())
