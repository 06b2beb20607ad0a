"""The model card of an exported head. Pure: its record in, Markdown out."""

from __future__ import annotations

import json

import yaml

from t2.head_record import Calibration, Confidence, Decision, Features, HeadRecord
from t2.policies.base import OneRound
from t2.policies.one_round import FixedN
from t2.policies.record import Policy, in_words, name_of
from t2.stats.bootstrap import Interval


def model_card(record: HeadRecord) -> str:
    """Markdown with front matter: what the export is for, how to use it, what was measured. It must have a policy."""
    assert record.policy is not None, "`save_head` gives one to a record without"
    base, labels = record.base_model, record.labels
    policy, promised = record.policy.policy(), _calibration(record.calibration, record.policy.name)
    reasons = _decision(record.decision) + _confidence(record.confidence)
    return f"""---
library_name: t2
base_model: {json.dumps(base.id, ensure_ascii=False)}
tags: [self-consistency, test-time-compute, budget-head]
{_model_index(record, policy)}---

# {_title(record, policy)} for {base.id}

{_what_it_does(record, policy)}

```python
{_code(record, policy)}
```

Policy: {in_words(policy)}. Labels: {labels.samples_per_question} samples a question at
{record.sampling}, eps {labels.eps}, grader {labels.grader}.
Questions: {labels.questions}.

{_reading(record.features)}{reasons}{_validation(record)}{promised}## Limits

One model, one prompt template, one distribution of questions: on others its budgets mean nothing until measured again.
"""


def _model_index(record: HeadRecord, policy: Policy) -> str:
    """The figures as the hub shows them beside the card; empty where nothing was measured."""
    metrics, loses = record.metrics, record.decision.loses if record.decision else None
    shown = {"accuracy": "accuracy", "generated_tokens": "generated tokens a question", "samples": "samples a question"}
    figures = [
        {"type": name, "value": round(interval.value, 4), "name": f"{shown[name]}, validation, replayed samples"}
        for name, interval in (metrics.intervals if metrics else {}).items()
        if name in shown
    ]
    if loses is not None and record.decision is not None:
        against = f"of FixedN({record.decision.n_ref}), held-out questions"
        figures += [
            {"type": "token_ratio", "value": round(loses.ratio.value, 4), "name": f"ratio to the tokens {against}"},
            {
                "type": "accuracy_difference",
                "value": round(loses.difference.value, 4),
                "name": f"points off that {against}",
            },
        ]
    if not figures:
        return ""
    num_questions = (record.labels.questions or {}).get("validation", "unknown")
    result = {
        "task": {"type": "text-generation", "name": "how many samples of self-consistency a question gets"},
        "dataset": {"type": "t2-pool", "name": f"{num_questions} validation questions, grader {record.labels.grader}"},
        "metrics": figures,
    }
    index = [{"name": f"{_title(record, policy)} for {record.base_model.id}", "results": [result]}]
    header: str = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
    return header


def _title(record: HeadRecord, policy: Policy) -> str:
    if isinstance(policy, FixedN) or record.head is None:
        return f"{name_of(policy)}, no head,"
    return record.head


def _what_it_does(record: HeadRecord, policy: Policy) -> str:
    reads = f"layers {list(record.features.layers) if record.features else None}"
    grid = ", ".join(map(str, record.shape.grid))
    if isinstance(policy, FixedN):
        return f"One number of samples for every question: {policy.n}. Nothing has to be read of a question beforehand."
    if isinstance(policy, OneRound):
        return (
            "Predicts, before decoding, how many samples of majority voting a question deserves. Reads the activations "
            f"of the frozen\nLLM at the last prompt token, {reads}; chooses among {grid} samples."
        )
    if policy.needs == "head":
        return (
            "Plans how many samples of majority voting a question gets next, given the answers so far. Reads the "
            f"activations of\nthe frozen LLM at the last prompt token, {reads}; draws at most {policy.cap} samples."
        )
    return (
        "Says how many samples of majority voting a question gets next, given the answers so far. It reads no "
        "activations and has\nno weights: held-out questions did not show that a head is worth it. At most "
        f"{policy.cap} samples."
    )


def _code(record: HeadRecord, policy: Policy) -> str:
    load = 'import t2\nhead = t2.BudgetHead.from_pretrained("this folder")\n'
    llm = (record.features and record.features.model_id) or record.base_model.id
    read = f'pooled_BLD = head.activations(["a question"], "{llm}")  # folder or hub id\n'
    layers, width = record.shape.num_layers, record.shape.width
    if isinstance(policy, FixedN):
        return f"{load}(rule,) = head.rules(1)  # the number of questions\nn = rule.extra([])  # {policy.n}"
    if isinstance(policy, OneRound):
        return f"{load}{read}n = head.budgets(pooled_BLD)  # (questions, {layers}, {width}) -> samples"
    ask = "rule.extra([])  # samples to draw first; then rule.extra(votes so far), until it says 0"
    if policy.needs == "head":
        return f"{load}{read}(rule,) = head.rules(pooled_BLD)\n{ask}"
    return f"{load}(rule,) = head.rules(1)  # the number of questions\n{ask}"


def _reading(features: Features | None) -> str:
    """The section on how the LLM is read; empty where its last token is, as it is."""
    if features is None or not features.costs_a_pass:
        return ""
    parts = []
    if features.lora is not None:
        parts.append(
            f"A LoRA adapter (rank {features.lora.rank}, in `adapter/`) was trained with the head: the activations are "
            "those of the\nLLM with it, the answers are drawn without."
        )
    if features.pooling_name != "last-token":
        how = {"mean": "averaged", "attention": "weighted by learned queries (`pooling.safetensors`)"}
        parts.append(
            f"The activations of all prompt tokens are {how[features.pooling_name]}, not the last one's taken."
        )
    parts.append(
        "**Serving it costs a second pass over the prompt**: an engine that answers computes neither on its way."
    )
    return "## How it reads the LLM\n\n" + "\n".join(parts) + "\n\n"


def _decision(decision: Decision | None) -> str:
    """The section on why this policy was exported; empty for an export that was not decided."""
    if decision is None:
        return ""
    lines = [f"## Decision\n\n{decision.why}"]
    if decision.loses is not None:
        loss = decision.loses
        where = "On questions that did not choose, choosing in this way"
        if decision.basis == "calibration":
            where = "On the held-out questions that chose the rule, so slightly too good, this setting"
        if decision.basis == "validation":
            where = (
                "On validation questions, which chose the checkpoint and so flatter it slightly, choosing in this way"
            )
        lines.append(
            f"{where} changes accuracy by {_span(loss.difference)} points at {_span(loss.ratio)} of the\n"
            f"tokens of FixedN({decision.n_ref}), in {loss.rounds:.2f} rounds."
        )
    if decision.warning:
        lines.append(f"**{decision.warning}**")
    if decision.candidates:
        rows = "\n".join(
            f"| {in_words(each.policy.policy())} | {_span(each.difference)} | {_span(each.ratio)} | {each.rounds:.2f} "
            f"| {_span(each.path_ratio)} | {_span(each.memory_ratio)} | {'yes' if each.within else 'no'} |"
            for each in decision.candidates
        )
        lines.append(
            f"Weighed on {decision.num_questions} train and validation questions, each by a fit that has not seen it "
            f"(95% intervals):\n\n| rule | accuracy, points | generated tokens, ratio | rounds | critical "
            f"path, ratio | KV tokens at once, ratio | worth it |\n|---|---|---|---|---|---|---|\n{rows}"
        )
    return "\n\n".join(lines) + "\n\n"


def _confidence(confidence: Confidence | None) -> str:
    """The section on how far the confidence of an answer can be believed."""
    if confidence is None:
        return ""
    line = f"{confidence.intercept:.2f} + {confidence.slope:.2f} x log odds"
    return f"""## Confidence

The confidence of an answer is P(right | votes) of the plan's prior, put on a line of its log odds ({line})
that was fitted to answers to {confidence.num_questions} held-out questions.

"""


def _validation(record: HeadRecord) -> str:
    metrics = record.metrics
    rows = "\n".join(
        f"| {name} | {of.value:.4g} | {of.low:.4g} to {of.high:.4g} |"
        for name, of in (metrics.intervals if metrics else {}).items()
    )
    n_ref = metrics.n_ref if metrics else None
    area = (
        ""
        if metrics is not None and metrics.area is None
        else (
            f"`area`: mean accuracy gain over a fixed number of samples at equal tokens, from 1 to {n_ref} samples\n"
            "(log token axis). "
        )
    )
    return f"""## On validation (replayed samples, 95% bootstrap intervals over questions)

| | value | interval |
|---|---|---|
{rows}

{area}Where validation chose the checkpoint, these figures are slightly optimistic; test figures are those of
cross-validation.

"""


def _span(of: Interval) -> str:
    return f"{of.value:.2f} [{of.low:.2f}, {of.high:.2f}]"


def _calibration(calibration: Calibration | None, policy: str) -> str:
    """The section on what is promised, or that nothing is; empty for a policy that decides nothing."""
    if calibration is None:
        return "" if policy == "FixedN" else "## Calibration\n\nNone: no accuracy is promised.\n\n"
    if calibration.chosen is None:
        return f"## Calibration\n\n{calibration.promise}\n\n"
    num_settings, p_value = len(calibration.settings), calibration.p_values[calibration.chosen]
    return f"""## Calibration

**{calibration.promise}**

It holds for questions of that mix, asked of the same model with the same prompt and sampling. Head, list of settings
and N_ref were settled before the calibration labels were read, so it does not hold for a setting that was chosen after
looking at several calibrations. Tested were {num_settings} settings, safest first; the p-value of the chosen
one is {p_value:.3g}.

"""
