"""Put the key rows of every report into docs/RESULTS.md: `python scripts/update_results.py`, after `t2 report`.

What stands between `<!-- docs/results/NAME/key.md -->` and `<!-- end -->` is replaced by that file.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "RESULTS.md"
BEGIN = r"<!-- (docs/results/[^ ]+/key\.md) -->\n"
QUOTED = re.compile(rf"({BEGIN})(?:(?!<!-- docs/results/).)*?(<!-- end -->)", re.DOTALL)


def quoted(text: str) -> str:
    """The document with every quoted file as it is now."""

    def quote(found: re.Match[str]) -> str:
        key = (ROOT / found[2]).read_text(encoding="utf-8")
        return f"{found[1]}\n{key}\n{found[3]}"

    quoting, found = QUOTED.subn(quote, text)
    if found != len(re.findall(BEGIN, text)):
        raise SystemExit(
            f"Expected `<!-- end -->` after each quoted file in {RESULTS}, got {found}. Add what is missing."
        )
    return quoting


if __name__ == "__main__":
    RESULTS.write_text(quoted(RESULTS.read_text(encoding="utf-8")), encoding="utf-8")
