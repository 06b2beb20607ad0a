"""A comparison as tables and sentences, for pages and Markdown alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from t2.comparison.claims import Claim, Claims
from t2.comparison.rows import Row
from t2.comparison.summary import Summary
from t2.pages.table import Table
from t2.pages.text import COST_WORDS, NOTHING, number, span
from t2.policies.then_stop import Prices
from t2.stats.frontier import Setting
from t2.stats.reliability import target_title

COLUMNS = (
    "policy",
    "kind",
    "setting",
    "accuracy, %",
    "vs FixedN(N_ref), points",
    "orders, ± points",
    "generated tokens",
    "ratio",
    "ratio at same accuracy",
    "tuned to 0.5 point: points",
    "tuned to 0.5 point: ratio",
    "prompt tokens",
    "total tokens",
    "re-prefilled",
    "samples",
    "rounds",
    "peak",
    "area, points",
    "crosses -1 point at",
    "other fold seeds: points / ratio / area",
)
CLAIMS = {
    "a": "a head's stopping rule against the best-tuned of ASC, ESC and Doubling",
    "b": "against the same rule with one prior for all: what a head's prior adds",
    "c": "the best one-round head against FixedN(N_ref)",
    "d": "the best one-round head's area against that of each control",
    "d, in bins": "the same where both go through the same 8 bins, so that only what is known differs",
    "e": "a head's stopping rule against the same rule with a control as its prior",
}
CONTENDERS_NOTE = (
    "Settings are chosen out of fold to lose at most 1 point against FixedN(N_ref), and in two columns at most half a "
    "point. Setting: price, threshold, window, share, shift or total, as the folds chose it. Orders: standard error of "
    "the accuracy that random orders of the samples leave. Ratio: of tokens to FixedN(N_ref)'s; at same accuracy: to "
    "those of FixedN where it is as accurate. Total tokens: with the prompt once; re-prefilled: with the prompt in "
    "every round. Samples: started for a question; rounds: how often the engine is waited for; peak: samples of a "
    "question that run at once. Area: mean gain over FixedN at equal tokens, on a log axis from 1 to N_ref samples, "
    "over all settings. Crosses: the ratio of tokens at which the line of all settings first loses no more than 1 "
    "point, on the very questions it is scored on: a description, no setting to choose. Rounds are those of a question "
    "alone; DSC waits for others besides. A reference is not a policy to deploy: OwnOracle, BayesOracle and DSC by "
    "other-fold mean correct know half of a question's own samples, which is optimistic, are scored on the other half, "
    "and are tuned against FixedN at the largest budget of a half. BatchBudget shares one total over all questions "
    "that are tested together."
)
CLAIMS_NOTE = (
    "Paired over questions, everything named and tuned out of fold. Ratio and accuracy: of the settings chosen to lose "
    "at most 1 point; area: over all settings. Intervals are over questions at the first fold seed; the other fold "
    "seeds have their own folds, names and settings."
)
REPEATED_NOTE = (
    "Questions that came into the pool when the methods had been chosen, and share no dedup key with older ones. Heads "
    "learn and settings are chosen in the other folds, as above; only the questions that are scored are fewer. Below "
    "about 20 questions the intervals say little."
)
LADDER_NOTE = (
    "Generated tokens at settings chosen out of fold to lose at most 1 point, by what is known of a question: read "
    "each ratio with its accuracy, or take the ratio at the same accuracy: to FixedN where it loses as much. What "
    "BayesOracle saves, only sampling can tell. What OwnOracle saves beyond that is an artefact: it is told which of a "
    "question's samples are correct, and pays for their noise. Both stop at half the pool and are tuned to lose at "
    "most 1 point against FixedN there: only their ratios at the same accuracy compare with the others."
)
TARGETS_NOTE = (
    "Reliability is the rank correlation between the halves of each question's samples, over questions; stepped up to "
    "the whole pool by Spearman-Brown. A head's out-of-fold prediction can be correlated with the whole pool's target "
    "up to about the ceiling, the square root of that: read it against the ceiling, not against 1."
)


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`."""
    others = "; ".join(f"{d:+.2f} / {r:.2f} / {NOTHING if a is None else f'{a:+.2f}'}" for d, r, a in row.other_seeds)
    return (
        row.name,
        row.kind,
        settings(row.chosen),
        span(row.accuracy, 1),
        span(row.difference),
        number(row.order_error) if row.order_error else NOTHING,
        span(row.tokens, 0),
        span(row.ratio),
        span(row.same_accuracy),
        span(row.half_point[0]),
        span(row.half_point[1]),
        f"{row.prompt_tokens:.0f}",
        f"{row.total_tokens:.0f}",
        f"{row.total_tokens_reprefilled:.0f}",
        f"{row.samples:.1f}",
        f"{row.rounds:.2f}",
        f"{row.peak:.1f}",
        span(row.area),
        number(row.crossing),
        others or NOTHING,
    )


def settings(chosen: Sequence[Setting]) -> str:
    """Settings of the folds: one where all chose the same, else from the smallest to the largest."""
    if prices := [setting for setting in chosen if isinstance(setting, Prices)]:
        tokens, rounds = ([getattr(each, name) for each in prices] for name in ("price", "round_price"))
        return f"{_range(tokens)} and {_range(rounds)} a round"
    numbers = [setting for setting in chosen if not isinstance(setting, Prices)]
    return _range(numbers)


def _range(chosen: Sequence[float]) -> str:
    ends = [_knob(setting) for setting in (min(chosen), max(chosen))] if chosen else [NOTHING]
    return " to ".join(dict.fromkeys(ends))


def _knob(setting: float) -> str:
    return "infinite" if math.isinf(setting) else f"{setting:g}"


def contenders_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """Every contender; other fold seeds where there are some, prompts where tokens are counted."""
    hidden = set() if any(row.other_seeds for row in summary.rows) else {COLUMNS[-1]}
    if cost_unit == "samples":
        hidden |= {"prompt tokens", "total tokens", "re-prefilled"}
    note = " ".join([CONTENDERS_NOTE, *without_setting(summary.rows)])
    table = Table(COLUMNS, tuple(map(cells, summary.rows)), note=note, text_columns=(0, 1))
    return table.without(hidden).titled({"generated tokens": COST_WORDS[cost_unit]})


def without_setting(rows: Iterable[Row]) -> list[str]:
    """A sentence on the rows that could not keep to what their table says, if there are any."""
    named = [f"{row.name} ({row.folds_without})" for row in rows if row.folds_without]
    if not named:
        return []
    return [
        "No setting lost at most 1 point on the training questions of some folds (how many), and the most accurate "
        f"one was taken: {', '.join(named)}."
    ]


def ladder_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """The waste ladder, a line for each rung."""
    columns = (
        "contender",
        "knows of a question",
        f"ratio of {COST_WORDS[cost_unit]}",
        "vs FixedN(N_ref), points",
        "ratio at same accuracy",
        "made of",
    )
    rows = tuple(
        (
            rung.name,
            rung.knows,
            span(rung.row.ratio),
            span(rung.row.difference),
            span(rung.row.same_accuracy),
            ", ".join(rung.made_of) or NOTHING,
        )
        for rung in summary.ladder
    )
    return Table(columns, rows, note=LADDER_NOTE, text_columns=(0, 1, 5))


def targets_table(summary: Summary) -> Table:
    """What could be predicted, and what heads do."""
    heads = list(dict.fromkeys(name for row in summary.targets for name in row.heads))
    columns = ("target", "between halves", "stepped up to the whole pool", "ceiling", *heads)
    rows = tuple(
        (
            target_title(row.name, summary.label_top),
            span(row.half),
            span(row.whole),
            number(row.ceiling),
            *(span(row.heads.get(name)) for name in heads),
        )
        for row in summary.targets
    )
    return Table(columns, rows, note=TARGETS_NOTE)


def claims_table(claims: Claims, cost_unit: str = "tokens") -> Table:
    """What is claimed, a line for each rival."""
    ratio = "token ratio" if cost_unit == "tokens" else "ratio of samples"
    seeds = any(claim.other_seeds for claim in claims.claims)
    columns = ("claim", "contender", "against", ratio, "accuracy, points", "area, points")
    rows = tuple(
        (claim.letter, claim.first, claim.second, span(claim.ratio), span(claim.difference), span(claim.area))
        + ((_listed(claim),) if seeds else ())
        for claim in claims.claims
    )
    legend = "; ".join(f"{letter}: {CLAIMS[letter]}" for letter in dict.fromkeys(c.letter for c in claims.claims))
    return Table(
        (*columns, f"other fold seeds: {ratio} / accuracy / area") if seeds else columns,
        rows,
        note=f"{CLAIMS_NOTE} {legend[0].upper()}{legend[1:]}." if legend else "There is no head to claim anything of.",
        text_columns=(0, 1, 2),
    )


def _listed(claim: Claim) -> str:
    return "; ".join(f"{number(r)} / {number(d)} / {number(a)}" for d, r, a in claim.other_seeds)


def named_sentence(summary: Summary) -> str:
    """What is called best, and what it was in the folds."""
    named = "; ".join(f"{title}: {', '.join(names)}" for title, names in summary.named.items())
    return f"Named by the training questions of each fold. {named[0].upper()}{named[1:]}."


def repeated_title(repeated: Claims) -> str:
    """Heading of the claims on new questions."""
    return f"The same claims on {repeated.num_questions} new questions alone"
