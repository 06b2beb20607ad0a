"""docs/flow.svg: the committed file is what the script draws, and what it draws can be read."""

from __future__ import annotations

import importlib.util
import re
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
spec = importlib.util.spec_from_file_location("draw_flow", ROOT / "scripts" / "draw_flow.py")
assert spec is not None
assert spec.loader is not None
flow = importlib.util.module_from_spec(spec)
sys.modules["draw_flow"] = flow  # where its dataclass looks for itself
spec.loader.exec_module(flow)


@pytest.fixture(scope="module")
def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(flow.draw())


def test_the_committed_file_is_what_the_script_draws() -> None:
    committed = (ROOT / "docs" / "flow.svg").read_text(encoding="utf-8")
    assert committed == flow.draw(), "python scripts/draw_flow.py"


def test_few_boxes_on_a_white_ground_of_their_own(drawn: ElementTree.Element) -> None:
    ground, *boxes = drawn.findall(f"{SVG}rect")
    assert 1 < len(boxes) <= 8
    assert ground.get("fill") == "#ffffff"
    assert int(ground.get("width", "0")) == flow.WIDTH - 1 == 799
    for one, other in combinations(boxes, 2):
        x, y, w, h = (tuple(float(box.get(key, "")) for box in (one, other)) for key in ("x", "y", "width", "height"))
        assert x[0] + w[0] <= x[1] or x[1] + w[1] <= x[0] or y[0] + h[0] <= y[1] or y[1] + h[1] <= y[0]


def helvetica(weight: str) -> dict[str, float]:
    """Adobe's own widths, a share of the font's size, by character."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "afm" / f"phv{weight[0].replace('n', 'r')}8a.afm"
    glyphs = re.findall(r"^C (\d+) ; WX (\d+) ;", file.read_text(encoding="latin-1"), re.MULTILINE)
    return {chr(int(code)): int(width) / 1000 for code, width in glyphs}


def test_texts_can_be_read_and_stay_in_their_boxes(drawn: ElementTree.Element) -> None:
    boxes = [tuple(float(rect.get(key, "")) for key in ("x", "y", "width")) for rect in drawn.findall(f"{SVG}rect")[1:]]
    texts = drawn.findall(f"{SVG}text")
    assert len(texts) > 3 * len(boxes)
    for text in texts:
        size, left, top = (float(text.get(key, "")) for key in ("font-size", "x", "y"))
        assert size >= 12
        widths = helvetica(text.get("font-weight", ""))
        right = left + size * sum(widths[letter] for letter in text.text or "")
        inside = [x + width for x, y, width in boxes if x <= left <= x + width and y <= top <= y + flow.TALL]
        assert right < min(inside, default=flow.WIDTH) - 8, text.text
