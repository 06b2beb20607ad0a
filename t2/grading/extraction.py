r"""Where the final answer stands in a model's whole output. Pure, and shared by all graders, which then read it.

The answer stands after the last final-answer marker (`####`, "The answer is") or in the last `\boxed{...}`, whichever
comes later. What a reader would not take for it is left out before: thinking, what follows an end token or a second
turn that the model made up, characters that cannot be seen, and headings that look like a marker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

BOX = "\\boxed{"
"""The marker of a grader that reads boxes alone."""
TEXT_IN_LATEX = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf)\s*\{([^{}]*)\}")
"""Words inside a formula; its group is what they say."""

_THINK = re.compile(r"<(/?)(?:think|thinking|thought|reasoning|seed:think)>|\[(/?)THINK\]|◁(/?)think▷", re.IGNORECASE)
LONGEST_ANSWER = 2000
"""Characters beyond which a line is a looping model's, not an answer: nothing in it is looked at."""
_MARKUP = re.compile("[<[◁]")
"""What a tag or a token begins with: most outputs have none, and need no closer look."""
_END = re.compile(
    r"<\|(?:im_end|im_start|endoftext|end_of_text|eot_id|end|return|eom_id|start_header_id)\|>|</s>|<eos>"
    r"|<end_of_turn>|<start_of_turn>|<｜end▁of▁sentence｜>|\[/?INST\]"
)
"""Tokens that end an answer, where the engine left them in the text; what follows is another turn."""
_TURN = re.compile(
    r"^[ \t#*>]*(?:Q|Question|Problem|User|Human|Student|Instruction|Exercise)(?:[ \t]*\d+)?[ \t*]*[:.][^\n]",
    re.MULTILINE,
)
_ODD = re.compile("[^\n\x20-\x7e]")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202c\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff]")
"""Of no width, as LEFT-TO-RIGHT MARK. The two overrides, which let a reader see 21 where 12 is written, stay."""
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")

_ANSWER_HEADING = re.compile(
    r"(?:the\s+)?(?:final\s+)?(?:answer|result|conclusion)(?:\s*\d+\s*of\s*\d+)?\s*[:.]?", re.IGNORECASE
)
"""Announces an answer on the next line."""
_HEADING = re.compile(
    r"(?:step|part|case|method|stage|phase|question|problem|example|section|attempt|approach|task)\s*#?\d+\b.*"
    r"|(?:explanation|check|verification|verify|notes?|summary|solution|work|working|reasoning|details|proof|steps"
    r"|discussion|analysis|calculations?|given|approach|overview|recap|justification|remarks?)\b[^\d]*",
    re.IGNORECASE,
)
"""Announces anything else, if text follows."""
_LABEL = re.compile(r"(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\b\s*:?|[:=])\s*", re.IGNORECASE)
_PHRASE = re.compile(r"\banswer\b[ \t*_]*(?:is\b[ \t]*:?|:)", re.IGNORECASE)
_BOX_START = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_PLAIN = re.compile(r"-?\w+")
"""An answer with nothing around it, as most are."""
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__)(?=\S)(.+?)(?<=\S)\1(?!\w)")
"""Bold in Markdown; `2**3**4` is none."""
_CLOSING_STOP = re.compile(r"(?<=[^.\s])[.,;:]$")
_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("`", "`"), ('"', '"'), ("“", "”"), ("*", "*"))


@dataclass(frozen=True)
class Extraction:
    """The final answer of an output, as it is written there."""

    answer: str | None
    """None: the output has no answer that a reader would be sure of"""
    how: str
    """what gave the answer away ("marker", "box", "phrase"), or why there is none"""
    shown: str
    """the output as a reader sees it, for graders that read on where there is no marker"""


@dataclass(frozen=True)
class _Sign:
    """A marker or a box."""

    start: int
    end: int
    """behind the marker, or behind the closing brace"""
    box: str | None = None
    """what is in the box; None: a marker"""
    closed: bool = True


def final_answer(text: str, marker: str, phrase: bool = False) -> Extraction:
    r"""The final answer of a model's output.

    Args:
        text: the whole output.
        marker: text before the final answer; letters in any case, a run of `#` at least as long as written. `\boxed{`
            reads boxes alone.
        phrase: without marker and box, what follows the last "answer is" or "answer:" counts.
    """
    shown, open_think = _shown(text)
    signs = _signs(shown, marker)
    for turn in _TURN.finditer(shown, signs[0].start if signs else 0):
        # A first turn may begin with "Question:"; only after an answer it is a made-up second one.
        if any(sign.start < turn.start() for sign in signs) or (not signs and shown[: turn.start()].strip()):
            shown = shown[: turn.start()]
            signs = [sign for sign in signs if sign.start < turn.start()]
            break
    answer, how = _answer_of(shown, signs)
    if not signs and phrase and (phrases := list(_PHRASE.finditer(shown))):
        said = _first_line(shown[phrases[-1].end() :])
        answer, how = (said, "phrase") if said else (None, "nothing after the phrase")
    if answer is None and open_think:
        how = "think block without an end"
    return Extraction(bare(answer) if answer is not None else None, how, shown)


def bare(answer: str) -> str:
    """An answer without what is put around it: bold, code and mathematics marks, quotes, a closing full stop."""
    if _PLAIN.fullmatch(answer):
        return answer
    if len(answer) > LONGEST_ANSWER:
        return answer.strip()
    answer = _EMPHASIS.sub(r"\2", answer.strip().lstrip(":").strip())
    before = None
    while answer != before:
        before = answer
        answer = _CLOSING_STOP.sub("", answer).removeprefix("**").removesuffix("**").strip()
        for opening, closing in _PAIRS:
            inner = answer[len(opening) : -len(closing)]
            if answer.startswith(opening) and answer.endswith(closing) and inner.strip() and closing not in inner:
                answer = inner.strip()
    return answer


def visible(text: str) -> str:
    """Without characters of no width; control characters, which a reader cannot read, become U+FFFD."""
    if not _ODD.search(text):
        return text
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _LINE_ENDS.sub("\n", _INVISIBLE.sub("", text)))


def _shown(text: str) -> tuple[str, bool]:
    """What a reader sees of an output, and whether its end is hidden in a think block without an end."""
    text = visible(text)
    if not _MARKUP.search(text):
        return text, False
    text, open_think = _without_thinking(text) if _THINK.search(text) else (text, False)
    start = 0
    for end in _END.finditer(text):
        if text[start : end.start()].strip():
            return text[start : end.start()], open_think
        start = end.end()  # an answer may begin with the token that opens its turn
    return text[start:], open_think


def _without_thinking(text: str) -> tuple[str, bool]:
    """The text outside of think blocks. A block may have begun in the prompt: what precedes its end is thought too."""
    kept: list[str] = []
    start, inside = 0, False
    for tag in _THINK.finditer(text):
        closes = "/" in tag.group()
        if closes and not inside:
            kept = []
        elif not closes and not inside:
            kept.append(text[start : tag.start()])
        start, inside = tag.end(), not closes
    return "".join([*kept, "" if inside else text[start:]]), inside


@lru_cache(maxsize=64)
def _pattern(marker: str) -> re.Pattern[str] | None:
    """Where a marker stands; None for a grader that has none but boxes."""
    if not marker or _BOX_START.match(marker):
        return None
    if not marker.strip("#"):
        return re.compile(f"{marker}#*")
    return re.compile(r"\s+".join(map(re.escape, marker.split())) or re.escape(marker), re.IGNORECASE)


def _signs(text: str, marker: str) -> list[_Sign]:
    pattern = _pattern(marker)
    signs = [_Sign(mark.start(), mark.end()) for mark in pattern.finditer(text)] if pattern else []
    if "box" in text:
        signs = sorted([*signs, *_boxes(text)], key=lambda sign: sign.start)
    return signs


def _boxes(text: str) -> list[_Sign]:
    """Every box, inner ones too, with balanced braces; one pass, however many are never closed."""
    starts = {match.end() - 1: match.start() for match in _BOX_START.finditer(text)}
    boxes: list[_Sign] = []
    opened: list[int] = []
    for brace in _BRACES.finditer(text):
        # An escaped brace is a brace that is shown; the one of "\boxed{" is not, since "\b" is what is escaped there.
        if brace.group() == "{":
            opened.append(brace.start())
        elif brace.group() == "}" and opened and (at := opened.pop()) in starts:
            boxes.append(_Sign(starts.pop(at), brace.end(), text[at + 1 : brace.start()]))
    return [*boxes, *(_Sign(start, at + 1, "", closed=False) for at, start in starts.items())]


def _answer_of(text: str, signs: list[_Sign]) -> tuple[str | None, str]:
    """The answer at the last sign that is no heading, and how it was found or why there is none."""
    stop = len(text)
    for index in range(len(signs) - 1, -1, -1):
        sign = signs[index]
        if sign.box is not None:
            return _boxed(text, sign)
        line, rest = _line_and_rest(text[sign.end : stop])
        stop = sign.start
        if not line:
            # Behind an answer on the same line a marker is decoration: "1200 ####".
            if index and "\n" not in text[signs[index - 1].end : sign.start].strip():
                continue
            return None, "nothing after the marker"
        if len(line) > LONGEST_ANSWER or (_PLAIN.fullmatch(line) and not line.isalpha()):
            return line, "marker"
        if _ANSWER_HEADING.fullmatch(line):
            below = _first_line(rest)
            return (below, "marker") if below else (None, "nothing after the marker")
        if rest.strip() and _HEADING.fullmatch(line):
            continue
        label = _LABEL.match(line)
        return (line[label.end() :] if label and line[label.end() :].strip() else line), "marker"
    return None, "headings alone" if signs else "no marker"


def _boxed(text: str, sign: _Sign) -> tuple[str | None, str]:
    if not sign.closed:
        return None, "box without an end"
    if not (sign.box or "").strip():
        return None, "empty box"
    if text[: sign.start][-1:] in ("-", "−", "–"):
        return None, "sign before the box"
    percent = re.match(r"\s*\$?\s*\\?%", text[sign.end : sign.end + 10])
    return f"{sign.box}{'%' if percent else ''}", "box"


def _line_and_rest(segment: str) -> tuple[str, str]:
    """The first line that is not blank, bare, and what is below it."""
    line, _, rest = segment.lstrip().partition("\n")
    return bare(line), rest


def _first_line(text: str) -> str:
    return _line_and_rest(text.lstrip(" \t\n*_`>:"))[0]
