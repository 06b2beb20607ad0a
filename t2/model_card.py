"""The model card of an exported head. Pure: config in, Markdown out."""

from __future__ import annotations

from typing import Any


def model_card(config: dict[str, Any]) -> str:
    """Markdown with front matter: what the head is for, how to use it, what was measured."""
    base, labels, features = config.get("base_model", {}), config.get("labels", {}), config.get("features", {})
    policy, metrics = config["policy"], config.get("metrics", {})
    knobs = ", ".join(f"{name}={value}" for name, value in policy["arguments"].items())
    rows = "\n".join(
        f"| {name} | {m['value']:.4g} | {m['low']:.4g} to {m['high']:.4g} |"
        for name, m in metrics.items()
        if isinstance(m, dict)
    )
    grid = ", ".join(map(str, config["shape"]["grid"]))
    return f"""---
library_name: t2
base_model: {base.get("id")}
tags: [self-consistency, test-time-compute, budget-head]
---

# {config["head"]} for {base.get("id")}

Predicts, before decoding, how many samples of majority voting a question deserves. Reads the activations of the frozen
LLM at the last prompt token, layers {features.get("layers")}; chooses among {grid} samples.

```python
import t2
head = t2.BudgetHead.from_pretrained("this folder")
pooled_BLD = head.activations(["a question"], "{features.get("model_id") or base.get("id")}")  # folder or hub id
n = head.budgets(pooled_BLD)  # (questions, {config["shape"]["num_layers"]}, {config["shape"]["width"]}) -> samples
```

Policy: {policy["name"]}({knobs}). Labels: {labels.get("samples_per_question")} samples a question at
{config.get("sampling")}, eps {labels.get("eps")}, grader {labels.get("grader")}.
Questions: {labels.get("questions")}.

## On validation (replayed samples, 95% bootstrap intervals over questions)

| | value | interval |
|---|---|---|
{rows}

`area`: mean accuracy gain over a fixed number of samples at equal tokens, from 1 to {metrics.get("n_ref")} samples
(log token axis). Validation chose the checkpoint, so these figures are slightly optimistic; test figures are those of
cross-validation.

{_calibration(config)}## Limits

One model, one prompt template, one distribution of questions: on others its budgets mean nothing until measured again.
"""


def _calibration(config: dict[str, Any]) -> str:
    """The section on what is promised, or that nothing is; empty for a policy that decides nothing."""
    record = config.get("calibration")
    if record is None:
        return "" if config["policy"]["name"] == "FixedN" else "## Calibration\n\nNone: no accuracy is promised.\n\n"
    if record["status"] != "calibrated":
        return f"## Calibration\n\n{record['promise']}\n\n"
    return f"""## Calibration

**{record["promise"]}**

It holds for questions of that mix, asked of the same model with the same prompt and sampling. Head, list of settings
and N_ref were settled before the calibration labels were read, so it does not hold for a setting that was chosen after
looking at several calibrations. Tested were {len(record["settings"])} settings, safest first; the p-value of the chosen
one is {record["p_values"][record["chosen"]]:.3g}.

"""
