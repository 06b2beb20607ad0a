"""Write a section of docs/RESULTS.md: all heads and policies on a finished pool, cross-validated over questions.

    python scripts/results.py --config configs/tiny-arith.yaml --out docs/results/tiny-arith

Writes `results.json` and `frontier.png` into the folder and the table into docs/RESULTS.md, between the markers that
carry the folder's name. Needs the pool and its features, no LLM.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from t2.activations.cache import FeatureCache, FeatureSpec
from t2.activations.layers import choose_layers
from t2.cli import read_job
from t2.curves.labels import BudgetLabels, budget_labels, cut_grid, dataset_optimum, overscaling_index
from t2.errors import T2Error
from t2.evaluation.bootstrap import interval, mean_interval, ratio_interval
from t2.evaluation.compare import Frontier, area
from t2.evaluation.figures import frontier_figure
from t2.grading.graded import GradedPool
from t2.grading.pool import PoolGrader
from t2.heads import HEADS
from t2.labelling.job import prepare
from t2.spec import DEFAULT_GRID
from t2.store.reader import ShardReader
from t2.training.comparison import Comparison, compare
from t2.training.cross_validation import TrainSettings

BOOTSTRAP_AREAS = 300


def load(config: str) -> tuple[GradedPool, Tensor, BudgetLabels, float]:
    """Graded samples, features, labels and eps of the finished questions of a config's pool."""
    content = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    job, _ = read_job(config)
    prepared = prepare(job)
    grader = PoolGrader(ShardReader(prepared.paths), job.task.grader)
    grader.refresh()
    complete = grader.complete_ids(job.samples_per_question)
    rows = [row for row, question in enumerate(prepared.questions) if question.id in complete]
    prompts = [prepared.prompts[row] for row in rows]
    pool = grader.pool(
        [prepared.questions[row] for row in rows], [len(prompt) for prompt in prompts], job.samples_per_question
    )
    facts = prepared.spec.model
    layers = choose_layers(content["model"].get("layers", "every-4th"), facts["num_layers"])
    cache = FeatureCache(prepared.paths.root / "features", FeatureSpec(facts["fingerprint"], layers))
    pooled_QLD = cache.load(prompts)
    if pooled_QLD is None:
        raise T2Error(f"Expected features in {cache.folder}, got none. Run train.py on {config} first.")
    grid = content["data"].get("grid") or cut_grid(DEFAULT_GRID, job.samples_per_question)
    eps = content["data"].get("eps", 0.02)
    return pool, pooled_QLD, budget_labels(pool, grid, eps), eps


def area_interval(frontier: Frontier, fixed: Frontier, n_ref: int) -> Any:
    """Area against FixedN in points, bootstrapped over questions."""
    num_questions = len(frontier.replays[0].correct)
    generator = torch.Generator().manual_seed(0)
    areas = []
    for _ in range(BOOTSTRAP_AREAS):
        rows = torch.randint(num_questions, (num_questions,), generator=generator)
        areas.append(100 * area(frontier.take(rows), fixed.take(rows), n_ref))
    return interval(100 * area(frontier, fixed, n_ref), torch.tensor(areas))


def summary(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """One row a policy: the first fold seed with its bootstrap intervals, and ratio and area of the others."""
    n_ref = statistics.mode(n for comparison in comparisons for n in comparison.n_ref)  # of training folds
    rows = []
    for name in (outcome.name for outcome in comparisons[0].outcomes):
        first = comparisons[0]
        reference, mine = first.outcome("FixedN").tuned, first.outcome(name).tuned
        frontier, fixed = first.outcome(name).frontier, first.outcome("FixedN").frontier
        ratios = [
            float(c.outcome(name).tuned.generated_tokens.mean() / c.outcome("FixedN").tuned.generated_tokens.mean())
            for c in comparisons
        ]
        rows.append(
            {
                "policy": name,
                "accuracy": asdict(mean_interval(100 * mine.correct)),
                "accuracy_difference": asdict(mean_interval(100 * (mine.correct - reference.correct))),
                "generated_tokens": asdict(mean_interval(mine.generated_tokens)),
                "token_ratio": asdict(ratio_interval(mine.generated_tokens, reference.generated_tokens)),
                "token_ratio_fold_seeds": ratios,
                "total_tokens": float(mine.total_tokens.mean()),
                "samples": float(mine.samples.mean()),
                "rounds": float(mine.rounds.mean()),
                "area": asdict(area_interval(frontier, fixed, n_ref)),
                "area_fold_seeds": [
                    100 * area(c.outcome(name).frontier, c.outcome("FixedN").frontier, n_ref) for c in comparisons
                ],
                "chosen_settings": list(first.outcome(name).chosen),
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]], facts: dict[str, Any], command: str) -> str:
    """The section as Markdown."""

    def span(value: dict[str, float], digits: int) -> str:
        return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"

    lines = [
        f"{facts['questions']} questions x {facts['samples']} samples; greedy {facts['greedy']:.1f}%, one sample "
        f"{facts['single']:.1f}%, majority of {facts['n_max']} {facts['majority']:.1f}%. "
        f"N_D = {facts['n_d']}, mean N* = {facts['mean_n_star']:.2f}, overscaling index M_D = {facts['m_d']:.2f} "
        f"(grid up to M/2, eps {facts['eps']}). N_ref = {facts['n_ref']} (N_D of the training folds, whole grid).",
        "",
        "| policy | accuracy, % | vs FixedN(N_ref), points | generated tokens | ratio to FixedN(N_ref) | total tokens "
        "| samples | rounds | area, points | area, other fold seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        others = ", ".join(f"{value:+.2f}" for value in row["area_fold_seeds"][1:])
        lines.append(
            f"| {row['policy']} | {span(row['accuracy'], 1)} | {span(row['accuracy_difference'], 2)} "
            f"| {span(row['generated_tokens'], 0)} | {span(row['token_ratio'], 2)} | {row['total_tokens']:.0f} "
            f"| {row['samples']:.1f} | {row['rounds']:.2f} | {span(row['area'], 2)} | {others} |"
        )
    return "\n".join([*lines, "", f"`{command}`", ""])


def replace_section(page: Path, name: str, section: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`."""
    before, start, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not (start and end):
        raise T2Error(f"Expected the markers <!-- {name} --> and <!-- /{name} --> in {page}, got none.")
    page.write_text(f"{before}{start}{section}{end}{after}", encoding="utf-8")


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path, default=Path("docs/RESULTS.md"))
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-epochs", type=int, default=40)
    args = parser.parse_args()
    started = time.monotonic()
    pool, pooled_QLD, labels, eps = load(args.config)
    how = TrainSettings(max_epochs=args.max_epochs)
    comparisons = []
    for seed in args.fold_seeds:
        comparisons.append(compare(dict(HEADS), pooled_QLD, pool, labels, seed, how))
        print(f"fold seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    on_labels = labels.acc_QK[:, : len(labels.label_grid)]
    budgets = torch.tensor(labels.label_grid, dtype=torch.float64)
    facts = {
        "questions": len(pool),
        "samples": int(pool.present_QM.sum(1).min()),
        "greedy": 100 * float(pool.greedy_right_Q.double().mean()),
        "single": 100 * float(labels.acc_QK[:, 0].mean()),
        "majority": 100 * float(labels.acc_QK[:, -1].mean()),
        "n_max": labels.grid[-1],
        "n_d": labels.label_grid[dataset_optimum(on_labels)],
        "mean_n_star": float(budgets[labels.n_star_Q].mean()),
        "m_d": overscaling_index(on_labels, labels.label_grid, eps),
        "eps": eps,
        "n_ref": statistics.mode(n for comparison in comparisons for n in comparison.n_ref),
    }
    rows = summary(comparisons)
    args.out.mkdir(parents=True, exist_ok=True)
    command = f"python scripts/results.py --config {args.config} --out {args.out}"
    section = markdown(rows, facts, command)
    replace_section(args.page, args.out.name, section)
    (args.out / "results.json").write_text(json.dumps({"facts": facts, "rows": rows}, indent=1), encoding="utf-8")
    shown = [o.frontier for o in comparisons[0].outcomes if "bins" not in o.name]
    frontier_figure(shown, f"{len(pool)} questions, cross-validated").savefig(args.out / "frontier.png")
    print(section)


if __name__ == "__main__":
    main()
