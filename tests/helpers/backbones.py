"""Backbones of the embedded LLM, and fits with it inside the LightningModule."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import torch
import yaml

from t2.training.backbone import Backbone
from train import main

LAYERS = (2, 4)
PROMPTS = [[1, 5, 9, 4], [1, 7], [1, 6, 3, 8, 2, 11, 9]]


def backbone_of(folder: str, **options: Any) -> Backbone:
    return Backbone.load(Path(folder), LAYERS, **options)


def disturb(backbone: Backbone, seed: int = 0) -> None:
    """Weights as after training: a fresh adapter changes nothing, fresh queries weigh all tokens alike."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    backbone.weights_changed()


def ran(config: dict[str, Any], folder: Path, name: str, **model: Any) -> tuple[Path, Path]:
    """The folders of a run and of its export."""
    config = copy.deepcopy(config)
    config["model"] |= model
    config["export"]["folder"] = str(folder / f"head-{name}")
    config["trainer"]["logger"][0]["init_args"]["name"] = name
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(path)])
    return folder / "runs" / name / "version_0", folder / f"head-{name}"


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row[key]) for key in ("train/loss", "val/loss") for row in rows if row.get(key)]
