"""The model card of an exported head. Pure: its record in, Markdown out."""

from __future__ import annotations

from t2.head_record import Calibration, HeadRecord


def model_card(record: HeadRecord) -> str:
    """Markdown with front matter: what the head is for, how to use it, what was measured. It must have a policy."""
    assert record.policy is not None, "`save_head` gives one to a record without"
    base, labels, features = record.base_model, record.labels, record.features
    policy, metrics = record.policy, record.metrics
    knobs = ", ".join(f"{name}={value}" for name, value in policy.arguments.items())
    rows = "\n".join(
        f"| {name} | {of.value:.4g} | {of.low:.4g} to {of.high:.4g} |"
        for name, of in (metrics.intervals if metrics else {}).items()
    )
    grid, n_ref = ", ".join(map(str, record.shape.grid)), metrics.n_ref if metrics else None
    return f"""---
library_name: t2
base_model: {base.id}
tags: [self-consistency, test-time-compute, budget-head]
---

# {record.head} for {base.id}

Predicts, before decoding, how many samples of majority voting a question deserves. Reads the activations of the frozen
LLM at the last prompt token, layers {list(features.layers) if features else None}; chooses among {grid} samples.

```python
import t2
head = t2.BudgetHead.from_pretrained("this folder")
pooled_BLD = head.activations(["a question"], "{(features and features.model_id) or base.id}")  # folder or hub id
n = head.budgets(pooled_BLD)  # (questions, {record.shape.num_layers}, {record.shape.width}) -> samples
```

Policy: {policy.name}({knobs}). Labels: {labels.samples_per_question} samples a question at
{record.sampling}, eps {labels.eps}, grader {labels.grader}.
Questions: {labels.questions}.

## On validation (replayed samples, 95% bootstrap intervals over questions)

| | value | interval |
|---|---|---|
{rows}

`area`: mean accuracy gain over a fixed number of samples at equal tokens, from 1 to {n_ref} samples
(log token axis). Validation chose the checkpoint, so these figures are slightly optimistic; test figures are those of
cross-validation.

{_calibration(record.calibration, policy.name)}## Limits

One model, one prompt template, one distribution of questions: on others its budgets mean nothing until measured again.
"""


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
