"""Is an adapter that is trained with the head worth it? The same head with and without one, on unseen questions.

    python scripts/lora_against_frozen.py CONFIG [--seeds 0 1 2] [--epochs 60] [--rank 8] [--out FOLDER]

For each seed the config is trained with `model.backbone: cached` (what `frozen` trains too, to rounding) and `lora`,
decision and calibration off. Both heads are judged on the config's test questions, which chose nothing: by their loss,
and by the area between the frontier of `Utility` and FixedN's. Differences are paired over questions, each seed's pair
on the same resamples, and averaged over seeds; intervals are 95% bootstrap intervals over questions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_modules import BudgetDataModule
from t2 import BudgetHead
from t2.comparison.contenders import fixed_frontier, head_frontiers
from t2.comparison.slices import Slice
from t2.config import read_data
from t2.curves.labels import reference_budget
from t2.heads.base import targets_of
from t2.stats.bootstrap import Interval, clusters_of, interval, resampled_means
from t2.stats.frontier import Frontier, area
from t2.stats.resampled import Resampled
from train import main as train


@dataclass(frozen=True)
class Judged:
    """A trained head on the test questions."""

    loss_Q: Tensor
    frontier: Frontier
    seconds: float
    """of its `fit`"""


def fitted(config: dict[str, object], backbone: str, seed: int, folder: Path) -> tuple[BudgetHead, float]:
    """Train and export; the head and the seconds that it took."""
    path, head = folder / f"{backbone}-{seed}.yaml", folder / f"{backbone}-{seed}"
    path.write_text(yaml.safe_dump({**config, "export": {"folder": str(head)}}), encoding="utf-8")
    started = time.monotonic()
    train(
        [
            *("fit", "--config", str(path), "--seed_everything", str(seed), "--data.seed", str(seed)),
            *("--model.backbone", backbone, "--decision.mode", "configured", "--calibration.mode", "skip"),
            *("--trainer.enable_progress_bar", "false", "--trainer.logger", "false"),
            *("--checkpoint.dirpath", str(folder / f"checkpoints-{backbone}-{seed}")),
        ]
    )
    return BudgetHead.from_pretrained(head), time.monotonic() - started


def judged(head: BudgetHead, data: BudgetDataModule, model: str, seconds: float) -> Judged:
    """On the test questions, each read by the head's own adapter if it has one."""
    pool, labels = data.split("test")
    rows = data._rows["test"]
    pooled_QLD = head.activations([data.prepared.questions[row].text for row in rows], model)
    raw_QO, targets = head.head(pooled_QLD), targets_of(labels, pool)
    one_by_one = [torch.tensor([q]) for q in range(len(rows))]
    loss_Q = torch.stack([head.head.loss(raw_QO[q], targets.take(q)) for q in one_by_one]).detach().double()
    on = Slice.of(pool, labels, seed=0)
    frontiers = head_frontiers(type(head.head).__name__, head.predict(pooled_QLD), on, labels.grid[-1])
    return Judged(loss_Q, next(f for f in frontiers if f.policy == "Utility"), seconds)


def main() -> None:
    """Train, judge, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--out", type=Path, default=None, help="keeps checkpoints and exports")
    args = parser.parse_args()
    folder = args.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))
    config["trainer"] = {**config.get("trainer", {}), "max_epochs": args.epochs}
    config["model"] = {**config["model"], "lora": {"rank": args.rank}}
    config["data"]["splits"] = {"train": 0.5, "validation": 0.15, "calibration": 0.05, "test": 0.3}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    settings = read_data(folder / "config.yaml")
    data = BudgetDataModule(**{name: value for name, value in vars(settings).items() if not name.startswith("_")})
    data.layers = config["model"].get("layers", data.layers)
    data.setup("test")
    pairs = []
    for seed in args.seeds:
        one = {way: fitted(config, way, seed, folder) for way in ("cached", "lora")}
        pairs.append({way: judged(head, data, settings.pool.model, seconds) for way, (head, seconds) in one.items()})
        print(
            f"seed {seed}: "
            + ", ".join(f"{w} {o.seconds:.0f} s, loss {o.loss_Q.mean():.4f}" for w, o in pairs[-1].items())
        )
    report(pairs, data)


def report(pairs: list[dict[str, Judged]], data: BudgetDataModule) -> None:
    """The table."""
    pool, labels = data.split("test")
    clusters_Q, fixed = clusters_of(pool.dedup_keys), fixed_frontier(Slice.of(pool, labels, seed=0))
    n_ref = reference_budget(data.split("train")[1], data.split("validation")[1])
    replays = [r for pair in pairs for one in pair.values() for r in one.frontier.replays]
    resampled = Resampled([*replays, *fixed.replays], clusters_Q)
    loss_Q2 = {way: torch.stack([pair[way].loss_Q for pair in pairs]).mean(0) for way in ("cached", "lora")}
    area_of = {way: [100 * area(pair[way].frontier, fixed, n_ref) for pair in pairs] for way in loss_Q2}
    areas_R = {
        way: sum(resampled.areas_R(p[way].frontier, fixed, n_ref) for p in pairs) / len(pairs) for way in loss_Q2
    }
    seconds = {way: sum(pair[way].seconds for pair in pairs) / len(pairs) for way in loss_Q2}
    print(f"\n{len(pool)} test questions, {len(pairs)} seeds, N_ref {n_ref}\n")
    print("| | frozen | lora | lora - frozen |\n|---|---|---|---|")
    loss_R2 = resampled_means(torch.stack(list(loss_Q2.values()), 1), clusters_Q=clusters_Q)
    losses = {way: float(value.mean()) for way, value in loss_Q2.items()}
    _row("loss, test", losses, interval(losses["lora"] - losses["cached"], loss_R2[:, 1] - loss_R2[:, 0]), 4)
    areas = {way: sum(values) / len(values) for way, values in area_of.items()}
    _row("area, points", areas, interval(areas["lora"] - areas["cached"], areas_R["lora"] - areas_R["cached"]), 2)
    both = f"{seconds['cached']:.0f} | {seconds['lora']:.0f}"
    print(f"| fit, seconds | {both} | {seconds['lora'] / seconds['cached']:.1f} x |")


def _row(name: str, values: dict[str, float], gap: Interval, digits: int) -> None:
    cells = f"{values['cached']:.{digits}f} | {values['lora']:.{digits}f}"
    print(f"| {name} | {cells} | {gap.value:+.{digits}f} [{gap.low:+.{digits}f}, {gap.high:+.{digits}f}] |")


if __name__ == "__main__":
    main()
