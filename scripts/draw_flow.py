"""Draw docs/flow.svg, the picture on the README's first screen: `python scripts/draw_flow.py`.

It brings its own white background, so that it reads the same on a dark page, and its text is no smaller than 12 pixels
where it is shown 800 pixels wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2.pages.pictures import INK, ONE_ROUND, REFERENCE, SEQUENTIAL, THEN_STOP

FLOW = Path(__file__).resolve().parents[1] / "docs" / "flow.svg"
WIDTH, HEIGHT = 800, 302
SOFT = "#57606a"
TITLE, TEXT = 15, 12.5
"""Font sizes, pixels."""


@dataclass(frozen=True)
class Box:
    """A step: what it is, what it does, what it costs or saves."""

    x: int
    y: int
    width: int
    height: int
    colour: str
    title: str
    lines: tuple[str, ...]
    price: str = ""


UPPER, LOWER, TALL = 42, 186, 84
TOP = (178, UPPER, 196, TALL), (414, UPPER, 180, TALL), (634, UPPER, 152, TALL)
BELOW = tuple((x, LOWER, width, height) for x, _, width, height in TOP)
LEARNED, READ, GAINED = SEQUENTIAL.colour, ONE_ROUND.colour, THEN_STOP.colour
EXAMPLES = ("3+4", "231-87+409-56", "...", "with answers that", "can be checked")
QUESTIONS = Box(14, UPPER, 124, LOWER + TALL - UPPER, REFERENCE.colour, "Questions", EXAMPLES)
DRAWN = Box(*TOP[0], LEARNED, "vLLM draws N answers", ("of each question: the pool",), "costs N answers, once")
CURVES = Box(*TOP[1], LEARNED, "Exact curves A(N)", ("accuracy of a vote over N",), "costs no further sample")
FOLDER = Box(*TOP[2], GAINED, "Exported folder", ("head, rule, card",), "a few MB, no LLM")
FROZEN = Box(*BELOW[0], READ, "Frozen LLM reads", ("activations, end of prompt",), "costs one prefill, no token")
HEAD = Box(*BELOW[1], READ, "Small head predicts", ("trained by Lightning",), "costs seconds on a CPU")
CHOSEN = Box(*BELOW[2], GAINED, "n for each one", ("before any answer",), "saves samples")
BOXES = (QUESTIONS, DRAWN, CURVES, FROZEN, HEAD, CHOSEN, FOLDER)
ACROSS = ((QUESTIONS, DRAWN), (DRAWN, CURVES), (QUESTIONS, FROZEN), (FROZEN, HEAD), (HEAD, CHOSEN))
"""Arrows from the right edge of a box to the left edge of the next one."""
STEEP = ((CURVES, HEAD, "teach it"), (CHOSEN, FOLDER, "kept in"))
"""Arrows between boxes that stand above one another, with a label."""

ONCE = "once, to learn: how good is a vote over N answers?"
EACH_TIME = "for every question, before it is answered: how many does it deserve?"


def draw() -> str:
    """The picture; the same bytes each time."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" role="img" aria-labelledby="t d">',
        '<title id="t">From questions to the number of answers that each one deserves</title>',
        f'<desc id="d">{". ".join(_sentence(box) for box in BOXES)}.</desc>',
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        _text(DRAWN.x, UPPER - 12, ONCE, TEXT, SOFT),
        _text(
            FROZEN.x,
            LOWER + TALL + 22,
            "for every question, before it is answered: how many does it deserve?",
            TEXT,
            SOFT,
        ),
    ]
    for start, end in ACROSS:
        middle = max(start.y, end.y) + TALL // 2
        parts.append(_arrow(start.x + start.width, middle, end.x, middle))
    for start, end, label in STEEP:
        x = start.x + start.width // 2
        down = end.y > start.y
        parts.append(_arrow(x, start.y + TALL * down, x, end.y + TALL * (not down)))
        parts.append(_text(x + 10, (UPPER + TALL + LOWER) // 2 + 4, label, TEXT, SOFT))
    parts += [_drawn(box) for box in BOXES]
    return "\n".join([*parts, "</svg>", ""])


def _sentence(box: Box) -> str:
    return ", ".join([f"{box.title}: {' '.join(box.lines)}", *([box.price] if box.price else [])])


def _drawn(box: Box) -> str:
    """Title, lines and price in a frame of the box's colour."""
    left = box.x + 12
    parts = [
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" fill="#ffffff" '
        f'stroke="{box.colour}" stroke-width="2"/>',
        _text(left, box.y + 25, box.title, TITLE, INK, "bold"),
        *(_text(left, box.y + 46 + 17 * row, line, TEXT, INK) for row, line in enumerate(box.lines)),
    ]
    if box.price:
        parts.append(_text(left, box.y + box.height - 13, box.price, TEXT, box.colour, "bold"))
    return "\n".join(parts)


def _text(x: int, y: int, text: str, size: float, colour: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}">{text}</text>'


def _arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    """A straight arrow that ends at (x2, y2), along one axis."""
    dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    tip = f"{x2 - 2 * dx},{y2 - 2 * dy}"
    wings = [f"{x2 - 10 * dx + 5 * side * dy},{y2 - 10 * dy + 5 * side * dx}" for side in (1, -1)]
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2 - 9 * dx}" y2="{y2 - 9 * dy}" stroke="{INK}" stroke-width="1.5"/>'
    return f'{line}\n<polygon points="{tip} {" ".join(wings)}" fill="{INK}"/>'


if __name__ == "__main__":
    FLOW.write_text(draw(), encoding="utf-8")
