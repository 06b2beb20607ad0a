"""`BudgetProbe`: a frozen LLM (or its cached features) under a trainable budget head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from t2.activations.layers import LayerChoice
from t2.activations.lora import LoraSettings
from t2.activations.pooling import Padded, Pooling
from t2.checkpoint import CHECKPOINT_KEY, LEARNED_KEY
from t2.config import BackboneChoice
from t2.errors import T2Error
from t2.export import load_exactly
from t2.head_record import NO_DATA, HeadRecord
from t2.heads.base import Head, HeadShape, Prediction, Targets, concatenated
from t2.training.backbone import Backbone, padded
from t2.training.data import Inputs, data_of
from t2.training.metrics import BudgetMetrics

Batch = tuple[Tensor | Padded, Targets]
_HEAD, _BACKBONE = "head.", "backbone."


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """The default optimizer: AdamW, learning rate 1e-3, weight decay 0.05."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)


class BudgetProbe(L.LightningModule):
    """Trains a head on pooled activations of an LLM, whose own weights are never trained and never in a checkpoint.

    `backbone` says where the activations come from:

        cached   batches are features, which the DataModule has read once and keeps on disk; the LLM is not here
        frozen   batches are token ids; the LLM is a part of this module, and each batch runs through it
        lora     as frozen, with an adapter that is trained with the head
    """

    train_inputs: Inputs | None = None
    train_targets: Targets | None = None

    def __init__(
        self,
        head: Callable[[HeadShape], Head],
        layers: LayerChoice = "every-4th",
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
        backbone: BackboneChoice = "cached",
        pooling: Pooling = "last-token",
        lora: LoraSettings = LoraSettings(),  # noqa: B008  # frozen
        gradient_checkpointing: bool = False,
    ) -> None:
        """Configure; the head is built when the shape of the features is known.

        Args:
            head: class of the head with its arguments.
            layers: which blocks to tap: 1..L, the residual stream after the block; or "every-4th", "every-2nd",
                "all", "last".
            optimizer: of the parameters of the head and, where there are any, of adapter and pooling.
            scheduler: of the learning rate, stepped once an epoch.
            backbone: "cached": features are read once and the LLM is freed; "frozen": each batch runs through it;
                "lora": and an adapter on it is trained.
            pooling: of a prompt's tokens: the last one's activations, which a serving engine gives for free; their
                "mean"; or "attention" with learned queries. The last two take a second pass over the prompt when
                served; the last needs a backbone that is not cached.
            lora: the adapter; read where `backbone` is "lora".
            gradient_checkpointing: with an adapter, run each block again in the backward pass: less memory, more time.
        """
        super().__init__()
        self.make_head, self.layers = head, layers
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.backbone_choice, self.pooling = backbone, pooling
        self.lora, self.gradient_checkpointing = lora if backbone == "lora" else None, gradient_checkpointing
        self.head: Head | None = None
        self.backbone: Backbone | None = None
        self.restored = False
        self._validated: list[Prediction] = []
        # A checkpoint has no LLM; what it must have is checked when it is loaded.
        self.strict_loading = backbone == "cached"

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
            data.read_with(self.features)
        elif self.head is None:
            raise T2Error("Expected a BudgetDataModule or a head built with `build`, got neither.")

    def configure_model(self) -> None:
        """Load the LLM where it is a part of this module; Lightning calls this more than once."""
        if self.backbone_choice == "cached" or self.backbone is not None:
            return
        if (data := data_of(self.trainer)) is None:
            raise T2Error(f"Expected a BudgetDataModule for `model.backbone: {self.backbone_choice}`, got none.")
        self.backbone = Backbone.load(
            data.model_folder(),
            data.feature_layers,
            pooling=self.pooling,
            lora=self.lora,
            gradient_checkpointing=self.gradient_checkpointing,
        )

    @property
    def trains_features(self) -> bool:
        """Whether the activations themselves change in training: by an adapter, or by learned queries."""
        return self.backbone is not None and self.backbone.is_trained

    def pooled(self, inputs: Tensor | Padded) -> Tensor:
        """Activations of a batch, (B, L, D): as they came, or from the LLM; gradients reach what is trained of it."""
        return inputs if isinstance(inputs, Tensor) else self._backbone(inputs)

    def features(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Features of prompts (token ids) by the weights as they are now, (Q, L, D), on the CPU, without gradient."""
        return self._backbone.features(prompts)

    @property
    def _backbone(self) -> Backbone:
        if self.backbone is None:
            raise T2Error("Expected an LLM for token ids, got `model.backbone: cached`. Choose frozen or lora.")
        return self.backbone

    def forward(self, inputs: Tensor | Padded | Sequence[Sequence[int]]) -> Prediction:
        """Predict from pooled features (B, L, D), or from prompts as token ids."""
        assert self.head is not None
        if not isinstance(inputs, Tensor | Padded):
            inputs = padded(inputs, self.device)
        raw_BO = self.head(self.pooled(inputs))
        with self._without_autocast():
            prediction = self.head.predict(raw_BO.float())
        return prediction

    def _without_autocast(self) -> torch.autocast:
        """Within the context a trainer's mixed precision is off, and raw outputs must be float32.

        Losses and predictions are of probabilities, which have two or three digits in 16 bits; on a GPU autocast
        refuses their cross-entropy altogether.
        """
        return torch.autocast(self.device.type, enabled=False)

    def on_train_epoch_start(self) -> None:
        """Take the epoch's training questions; at the first and the first full epoch the head takes its statistics."""
        if (data := data_of(self.trainer)) is not None:
            self.train_inputs, targets = data.train_set(self.current_epoch)
            self.train_targets = Targets(*(value.to(self.device) for value in targets))
            if data.is_stage_start(self.current_epoch):
                self.start_stage()

    def start_stage(self) -> None:
        """Let the head take statistics from the current training questions."""
        head, pooled_QLD, targets = self._training_state()
        head.start_stage(pooled_QLD, targets)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        assert self.head is not None
        inputs, targets = batch
        pooled_BLD = self.pooled(inputs)
        raw_BO = self.head(pooled_BLD)
        with self._without_autocast():
            loss = self.head.loss(raw_BO.float(), targets)
        self.log("train/loss", loss, on_epoch=True, on_step=False, batch_size=len(pooled_BLD))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.backbone is not None:
            self.backbone.weights_changed()

    def on_validation_start(self) -> None:
        """Before the epoch is judged: what is validated must be what the checkpoint will hold."""
        self._validated.clear()
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
        if self.head is not None and type(self.head).finish_epoch is Head.finish_epoch:
            return  # it takes none: the LLM need not read them all
        head, pooled_QLD, targets = self._training_state()
        was_training = head.training
        head.eval()
        with torch.no_grad():
            head.finish_epoch(pooled_QLD, targets)
        head.train(was_training)

    def _training_state(self) -> tuple[Head, Tensor, Targets]:
        if self.head is None or self.train_inputs is None or self.train_targets is None:
            raise RuntimeError("Expected head, features and targets before an epoch, got none.")
        inputs = self.train_inputs
        pooled_QLD = inputs if isinstance(inputs, Tensor) else self.features(inputs)
        return self.head, pooled_QLD.to(self.device), self.train_targets

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        assert self.head is not None
        inputs, targets = batch
        raw_BO = self.head(self.pooled(inputs)).float()
        with self._without_autocast():
            prediction = self.head.predict(raw_BO)
            loss = self.head.loss(raw_BO, targets)
        self.log("val/loss", loss, batch_size=len(raw_BO))
        self.val_metrics.update(prediction, targets)
        self._validated.append(prediction.map(Tensor.cpu))

    @property
    def validated(self) -> Prediction:
        """Of all validation questions, in their order, by the validation that has just run."""
        return concatenated(self._validated)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.val_metrics)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        inputs, targets = batch
        self.test_metrics.update(self(inputs), targets)

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
        optimizer = self.make_optimizer([each for each in self.parameters() if each.requires_grad])
        if self.make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what export needs: primitives and tensors only, so that the file loads without pickle's dangers."""
        assert self.head is not None
        data = data_of(self.trainer)
        # Asked now, not at setup: the training questions may have been labelled since.
        record = HeadRecord.of(self.head, data.export_info if data is not None else NO_DATA)
        if self.backbone is not None:
            assert record.features is not None, "whoever has an LLM here has it from a DataModule"
            record = replace(record, features=replace(record.features, lora=self.backbone.lora))
            state = checkpoint["state_dict"]
            checkpoint["state_dict"] = {name: state[name] for name in state if not name.startswith(_BACKBONE)}
            checkpoint[LEARNED_KEY] = self.backbone.learned.tensors
        # `AccuracyCost` has put policy and metrics there already: Lightning asks callbacks first.
        checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **record.as_json()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the head that the checkpoint holds if none is there yet; give adapter and pooling their weights.

        Raises:
            T2Error: a checkpoint of another head, or of another way of reading the LLM.
        """
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
        self._check_reading(then)
        if self.backbone is not None:
            self.take_weights(checkpoint, "the checkpoint")

    def take_weights(self, checkpoint: Mapping[str, Any], where: str) -> None:
        """The trained weights of a checkpoint, all of them: of the head, and of adapter and pooling if there are any.

        Raises:
            T2Error: some are missing, or are of another LLM.
        """
        assert self.head is not None
        state = checkpoint["state_dict"]
        own = {name.removeprefix(_HEAD): value for name, value in state.items() if name.startswith(_HEAD)}
        load_exactly(self.head, own, where)
        if self.backbone is not None:
            self.backbone.load_learned(checkpoint.get(LEARNED_KEY, {}), where)

    def _check_reading(self, then: HeadRecord) -> None:
        """A run goes on as it began: its features must be read in the same way."""
        if then.features is None:
            return
        now = (self.pooling, self.backbone.lora if self.backbone is not None else None)
        before = (then.features.pooling_name, then.features.lora)
        if now != before:
            raise T2Error(
                f"Expected the features of the checkpoint (pooling {before[0]}, adapter {before[1]}), got pooling "
                f"{now[0]}, adapter {now[1]}. Change `model.pooling`, `model.backbone` or `model.lora` back."
            )
