"""A comparison as tables and sentences, for pages and Markdown alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from t2.evaluation.claims import Claims
from t2.evaluation.reliability import target_title
from t2.evaluation.rows import Row
from t2.evaluation.summary import Summary
from t2.reports.curse_tables import NOTHING, number, span
from t2.reports.page import Table

COLUMNS = (
    "policy",
    "kind",
    "accuracy, %",
    "vs FixedN(N_ref), points",
    "generated tokens",
    "ratio",
    "tuned to 0.5 point: points",
    "tuned to 0.5 point: ratio",
    "total tokens",
    "re-prefilled",
    "samples",
    "rounds",
    "peak",
    "area, points",
    "other fold seeds: points / ratio / area",
)
COST_WORDS: dict[str, str] = {"tokens": "generated tokens", "samples": "cost in samples"}
"""What a pool without token counts calls its cost."""
CLAIMS = {
    "a": "HeadThenStop against the best-tuned of ASC, ESC and Doubling",
    "b": "HeadThenStop against NoHeadThenStop: what a head's prior adds",
    "c": "The best one-round head against FixedN(N_ref)",
}
CONTENDERS_NOTE = (
    "Settings are chosen out of fold to lose at most 1 point against FixedN(N_ref), and in two columns at most half a "
    "point. Ratio: of tokens to FixedN(N_ref)'s. Total tokens: with the prompt once; re-prefilled: with the prompt in "
    "every round. Samples: started for a question; rounds: how often the engine is waited for; peak: samples of a "
    "question that run at once. Area: mean gain over FixedN at equal tokens, on a log axis from 1 to N_ref samples, "
    "over all settings. A reference is not a policy to deploy: OwnOracle, BayesOracle and DSC by other-fold mean "
    "correct know half of a question's own samples, which is optimistic, and are scored on the other half. BatchBudget "
    "shares one total over all questions that are tested together."
)
CLAIMS_NOTE = (
    "Paired over questions, everything named and tuned out of fold. Square brackets are intervals over questions at "
    "the first fold seed; round ones hold what the other fold seeds say, each with its own folds, names and settings."
)
REPEATED_NOTE = (
    "Questions that came into the pool when the methods had been chosen, and share no dedup key with older ones. Heads "
    "learn and settings are chosen in the other folds, as above; only the questions that are scored are fewer. Below "
    "about 20 questions the intervals say little."
)
LADDER_NOTE = (
    "Generated tokens at settings chosen out of fold to lose at most 1 point, by what is known of a question "
    "beforehand: read each ratio with its accuracy. What BayesOracle saves, only sampling can tell. What OwnOracle "
    "saves beyond that is an artefact: it is told which of a question's samples are correct, and pays for their noise. "
    "Both stop at half the pool, so they may lose more than a point."
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
        span(row.accuracy, 1),
        span(row.difference),
        span(row.tokens, 0),
        span(row.ratio),
        span(row.half_point[0]),
        span(row.half_point[1]),
        f"{row.total_tokens:.0f}",
        f"{row.total_tokens_reprefilled:.0f}",
        f"{row.samples:.1f}",
        f"{row.rounds:.2f}",
        f"{row.peak:.1f}",
        span(row.area),
        others or NOTHING,
    )


def contenders_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """Every contender; other fold seeds where there are some, prompts where tokens are counted."""
    hidden = set() if any(row.other_seeds for row in summary.rows) else {COLUMNS[-1]}
    if cost_unit == "samples":
        hidden |= {"total tokens", "re-prefilled"}
    shown = [index for index, column in enumerate(COLUMNS) if column not in hidden]
    columns = tuple(COLUMNS[index].replace("generated tokens", COST_WORDS[cost_unit]) for index in shown)
    rows = tuple(tuple(cells(row)[index] for index in shown) for row in summary.rows)
    note = " ".join([CONTENDERS_NOTE, *without_setting(summary.rows)])
    return Table(columns, rows, note=note, text_columns=(0, 1))


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
    """The waste ladder."""
    columns = (
        "contender",
        "knows beforehand",
        f"ratio of {COST_WORDS[cost_unit]}",
        "vs FixedN(N_ref), points",
        "made of",
    )
    rows = tuple(
        (
            rung.name,
            rung.knows,
            span(rung.row.ratio),
            span(rung.row.difference),
            rung.made_of or NOTHING,
        )
        for rung in summary.ladder
    )
    return Table(columns, rows, note=LADDER_NOTE, text_columns=(0, 1, 4))


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


def claim_sentences(claims: Claims, cost_unit: str = "tokens") -> tuple[str, ...]:
    """What is claimed, a sentence each."""
    ratio = "token ratio" if cost_unit == "tokens" else "ratio of samples"
    priors = "; ".join(
        f"{name} {span(pair.ratio)} at {span(pair.difference)}" for name, pair in claims.then_stop_over_controls.items()
    )
    over = "; ".join(
        f"{name} {span(gap.value)}{_listed(map(number, gap.other_seeds))}"
        for name, gap in claims.area_over_controls.items()
    )
    return (
        *(
            f"{letter}. {CLAIMS[letter]}: {pair.first} against {pair.second}: {ratio} {span(pair.ratio)}, "
            f"accuracy difference {span(pair.difference)} points"
            f"{_listed(f'{number(tokens)} at {number(points)}' for points, tokens in pair.other_seeds)}."
            for letter, pair in claims.pairs.items()
        ),
        f"d. Area of {claims.best_head} minus that of each control, points: {over}.",
        f"e. HeadThenStop against the same rule with a control as its prior, {ratio} at accuracy difference in points: "
        f"{priors}.",
    )


def _listed(values: Iterable[str]) -> str:
    """In brackets, what the other fold seeds say."""
    listed = ", ".join(values)
    return f" ({listed})" if listed else ""


def repeated_title(repeated: Claims) -> str:
    """Heading of the claims on new questions."""
    return f"The same claims on {repeated.num_questions} new questions alone"


def markdown_table(table: Table) -> tuple[str, str]:
    """The table and its note."""
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines), table.note
