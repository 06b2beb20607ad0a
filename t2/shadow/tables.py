"""The tables of the shadow report, the same for terminal and page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from t2.pages.table import Table
from t2.pages.text import number, span
from t2.shadow.measure import ShadowGroup, ShadowReport, labels_of_rounds

ABOUT = (
    "Every request got all its samples, as before. T2's plan was then walked over them in order of draw: what it would "
    "have drawn in each round, when it would have stopped, and whether its vote is the vote of all. Requests count as "
    "independent. 95% intervals over requests: exact ones for agreement, bootstrap for all else.",
    "Agreement is with the vote of all samples, not with the truth: where the two differ either may be right.",
)
ABOUT_GREEDY = (
    "A greedy answer (temperature 0) is not among the samples: whether it agrees is unknown, so it counts in no "
    "agreement, and as an answer that may have changed. Its tokens are those of a mean sample of its request."
)


def summary_table(report: ShadowReport) -> Table:
    """The numbers to quote."""
    whole = report.everything
    rows = [
        ("requests", f"{whole.requests:,}"),
        ("agreement with the vote of all samples, %", _agreement(whole)),
        ("generated tokens left out, %", span(whole.saved, 1, 100)),
        ("samples of a request, T2", span(whole.samples)),
        ("samples of a request, drawn", number(whole.drawn)),
        ("rounds of a request, T2", span(whole.rounds)),
        ("tokens waited for, T2 over drawn", span(whole.path_ratio)),
        ("probability that T2's answer is right, %", span(whole.confidence, 1, 100)),
        ("requests with a greedy answer: agreement unknown", f"{report.greedy:,}"),
        ("answers that may have changed at most, %", number(100 * report.most_changed, 1)),
    ]
    if report.cut:
        rows.append(("requests in which T2 would have drawn more than there was", f"{report.cut:,}"))
    if report.fell_back:
        rows.append(("requests without activations: a fixed number of samples", f"{report.fell_back:,}"))
    if report.unknown_prompts < whole.requests:
        rows.append(("requests with another prompt than the head's", f"{report.other_prompts:,}"))
    return Table(("quantity", "value [95% interval]"), tuple(rows), caption="In numbers", marked_rows=(1, 2))


def rounds_table(report: ShadowReport) -> Table:
    """What requests with a greedy answer, with one round, with two and so on save."""
    return _group_table("T2's rounds", labels_of_rounds(tuple(report.by_rounds)), report.by_rounds, report, "By rounds")


def samples_table(report: ShadowReport) -> Table:
    """What requests with one sample, with two and so on save."""
    labels = [str(samples) for samples in report.by_samples]
    return _group_table("T2's samples", labels, report.by_samples, report, "By samples")


def notes(report: ShadowReport) -> list[str]:
    """What a reader must know besides."""
    said = [f"Planned by: {', '.join(report.policies)}."]
    if report.greedy:
        said.append(ABOUT_GREEDY)
    if report.cut:
        said.append(
            f"In {report.cut:,} requests T2 would have drawn more samples than there were, so that what it saves there "
            "looks better than it is, and its agreement too. Draw more samples in shadow mode, or allow T2 no more."
        )
    if report.fell_back:
        said.append(f"In {report.fell_back:,} requests the activations could not be had. The server's log says why.")
    if report.other_prompts:
        said.append(
            f"In {report.other_prompts:,} of {report.everything.requests:,} requests the prompt was another one than "
            "the head was trained with: what it decides there means little. Send its system line, worked examples and "
            "template arguments, or train a head on your own prompt."
        )
    if report.unknown_prompts:
        said.append(
            f"Of {report.unknown_prompts:,} requests the log does not say which prompt they had: it was written by an "
            "earlier version."
        )
    return said


def _group_table(
    title: str, labels: Sequence[str], groups: Mapping[int, ShadowGroup], report: ShadowReport, caption: str
) -> Table:
    rows = [
        (
            label,
            f"{group.requests:,}",
            number(100 * group.requests / report.everything.requests, 1),
            _agreement(group),
            number(group.samples.value, 1),
            span(group.saved, 1, 100),
            number(group.path_ratio.value),
        )
        for label, group in zip(labels, groups.values(), strict=True)
    ]
    columns = (title, "requests", "share, %", "agrees, %", "samples", "saved, %", "path")
    note = "Saved: generated tokens that T2 leaves out. Path: tokens that are waited for, T2's to those of all samples."
    return Table(columns, tuple(rows), caption=caption, note=note)


def _agreement(group: ShadowGroup) -> str:
    return span(group.agreement, 1, 100) if group.agreement else "unknown"
