"""`BudgetProbe`: a frozen LLM (or its cached features) under a trainable budget head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from t2.activations.layers import LayerChoice
from t2.activations.pooling import pool_last_token
from t2.checkpoint import CHECKPOINT_KEY
from t2.errors import T2Error
from t2.head_record import NO_DATA, HeadRecord
from t2.heads.base import Head, HeadShape, Prediction, Targets
from t2.training.data import data_of
from t2.training.metrics import BudgetMetrics

Batch = tuple[Tensor, Targets]


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """The default optimizer: AdamW, learning rate 1e-3, weight decay 0.05."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)


class BudgetProbe(L.LightningModule):
    """Trains a head on pooled activations. The LLM is never trained and never in a checkpoint."""

    train_pooled_QLD: Tensor | None = None
    train_targets: Targets | None = None

    def __init__(
        self,
        head: Callable[[HeadShape], Head],
        layers: LayerChoice = "every-4th",
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Configure; the head is built when the shape of the features is known.

        Args:
            head: class of the head with its arguments.
            layers: which blocks to tap: 1..L, the residual stream after the block; or "every-4th", "every-2nd",
                "all", "last".
            optimizer: of the head's parameters.
            scheduler: of the learning rate, stepped once an epoch.
        """
        super().__init__()
        self.make_head, self.layers = head, layers
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.head: Head | None = None
        self.backbone: Any = None
        self.restored = False

    def build(self, shape: HeadShape) -> Head:
        """Build head and metrics; calling it again keeps what is there."""
        if self.head is None:
            self.head = self.make_head(shape)
            self.val_metrics = BudgetMetrics(shape.label_grid, self.head.gives_curve)
            self.test_metrics = BudgetMetrics(shape.label_grid, self.head.gives_curve)
        return self.head

    def setup(self, stage: str) -> None:
        if (data := data_of(self.trainer)) is not None:
            self.build(data.head_shape)
        elif self.head is None:
            raise T2Error("Expected a BudgetDataModule or a head built with `build`, got neither.")

    def forward(self, inputs: Tensor | Sequence[Sequence[int]]) -> Prediction:
        """Predict from pooled features, (B, L, D), or from prompts as token ids (needs `attach_backbone`)."""
        assert self.head is not None
        if not isinstance(inputs, Tensor):
            if self.backbone is None:
                raise T2Error("Expected a backbone for token ids, got none. Call `attach_backbone(model, layers)`.")
            model, layers = self.backbone
            with torch.inference_mode():
                inputs = pool_last_token(model, inputs, layers)
        return self.head.predict(self.head(inputs))

    def attach_backbone(self, model: Any, layers: Sequence[int]) -> None:
        """Use this frozen LLM for token ids."""
        model.requires_grad_(False)
        # In a tuple it is no submodule: checkpoints and optimizers never see it.
        self.backbone = (model.eval(), tuple(layers))

    def on_train_epoch_start(self) -> None:
        """Take the epoch's training questions; at the first and the first full epoch the head takes its statistics."""
        if (data := data_of(self.trainer)) is not None:
            pooled_QLD, targets = data.train_set(self.current_epoch)
            self.train_pooled_QLD = pooled_QLD.to(self.device)
            self.train_targets = Targets(*(value.to(self.device) for value in targets))
            if data.is_stage_start(self.current_epoch):
                self.start_stage()

    def start_stage(self) -> None:
        """Let the head take statistics from the current training questions."""
        head, pooled_QLD, targets = self._training_state()
        head.start_stage(pooled_QLD, targets)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        assert self.head is not None
        pooled_BLD, targets = batch
        loss = self.head.loss(self.head(pooled_BLD), targets)
        self.log("train/loss", loss, on_epoch=True, on_step=False, batch_size=len(pooled_BLD))
        return loss

    def on_validation_start(self) -> None:
        """Before the epoch is judged: what is validated must be what the checkpoint will hold."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.finish_epoch()
        self._check_trained()

    def _check_trained(self) -> None:
        if self.trainer.state.fn != "fit" and not self.restored:
            raise T2Error("Expected a trained head, got none. Add `--ckpt_path FILE`.")

    on_test_start = on_predict_start = _check_trained

    def on_train_epoch_end(self) -> None:
        """Where nothing is validated, the epoch is finished here."""
        self.finish_epoch()

    def finish_epoch(self) -> None:
        """Let the head take statistics that depend on its weights, from the epoch's training questions."""
        head, pooled_QLD, targets = self._training_state()
        was_training = head.training
        head.eval()
        with torch.no_grad():
            head.finish_epoch(pooled_QLD, targets)
        head.train(was_training)

    def _training_state(self) -> tuple[Head, Tensor, Targets]:
        if self.head is None or self.train_pooled_QLD is None or self.train_targets is None:
            raise RuntimeError("Expected head, features and targets before an epoch, got none.")
        return self.head, self.train_pooled_QLD, self.train_targets

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        assert self.head is not None
        pooled_BLD, targets = batch
        raw_BO = self.head(pooled_BLD)
        self.log("val/loss", self.head.loss(raw_BO, targets), batch_size=len(pooled_BLD))
        self.val_metrics.update(self.head.predict(raw_BO), targets)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.val_metrics)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        pooled_BLD, targets = batch
        self.test_metrics.update(self(pooled_BLD), targets)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", self.test_metrics)

    def predict_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Predictions of a batch by part (a dict: Lightning moves it to the CPU)."""
        prediction: Prediction = self(batch[0])
        return {name: value for name, value in vars(prediction).items() if value is not None}

    def _log_metrics(self, split: str, metrics: BudgetMetrics) -> None:
        if not self.trainer.sanity_checking:
            self.log_dict({f"{split}/{name}": value.float() for name, value in metrics.compute().items()})
        metrics.reset()

    def configure_optimizers(self) -> Any:
        assert self.head is not None
        optimizer = self.make_optimizer(self.head.parameters())
        if self.make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what export needs: primitives only, so that the file loads without pickle's dangers."""
        assert self.head is not None
        data = data_of(self.trainer)
        # Asked now, not at setup: the training questions may have been labelled since.
        record = HeadRecord.of(self.head, data.export_info if data is not None else NO_DATA)
        # `AccuracyCost` has put policy and metrics there already: Lightning asks callbacks first.
        checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **record.as_json()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the head that the checkpoint holds if none is there yet."""
        self.restored = True
        if CHECKPOINT_KEY not in checkpoint:
            return
        then = HeadRecord.from_json(checkpoint[CHECKPOINT_KEY], "the checkpoint")
        now = HeadRecord.of(self.build(then.shape))
        if changed := [
            f"{getattr(then, name)} then, {getattr(now, name)} now"
            for name in ("head", "head_arguments")
            if getattr(then, name) != getattr(now, name)
        ]:
            raise T2Error(
                f"Expected the head of the checkpoint, got another: {'; '.join(changed)}. Change `model.head` back."
            )
