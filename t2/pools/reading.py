"""By which LLM a pool's prompts are read, and where it lies: the pool's own, or a proxy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2.activations.cache import FeatureSpec
from t2.activations.layers import choose_layers
from t2.config import DataSettings
from t2.errors import T2Error
from t2.model_files import ModelFiles, resolve_model
from t2.pools.prepare import Prepared


@dataclass(frozen=True)
class Reading:
    """What is read of a pool's prompts, and by which LLM."""

    spec: FeatureSpec
    width: int
    """hidden width, as the LLM's config says"""
    proxy: ModelFiles | None
    """None: the pool's own LLM reads them"""
    prepared: Prepared
    data: DataSettings

    @classmethod
    def of(cls, prepared: Prepared, data: DataSettings) -> Reading:
        """As `data` says.

        Raises:
            T2Error: no such proxy, or a layer that the LLM does not have.
        """
        proxy = resolve_model(data.allow_proxy) if data.allow_proxy else None
        facts = prepared.spec.model if proxy is None else proxy.as_json()
        layers = choose_layers(data.layers, facts["num_layers"])
        return cls(FeatureSpec(facts["fingerprint"], layers, data.pooling), facts["width"], proxy, prepared, data)

    def model_folder(self) -> Path:
        """Of the LLM, which need not be there as long as nobody asks.

        Raises:
            T2Error: it is not here, or is another one.
        """
        job = self.data.pool
        files = self.proxy or self.prepared.model_files or resolve_model(job.model, job.revision)
        if files.fingerprint != self.spec.model_fingerprint:
            raise T2Error(
                f"Expected the LLM of the pool ({self.spec.model_fingerprint[:12]}...), got {files.id} "
                f"({files.fingerprint[:12]}...). Mend `model`, or set `data.allow_proxy` to use it on purpose."
            )
        return files.folder
