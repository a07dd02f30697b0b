"""Loading frozen base models from files on this machine; nothing is ever downloaded.

Importing this package is cheap: diffusers and transformers are imported only by the functions that
build or read a model.
"""

from __future__ import annotations

from lycoris_ext.models.config import ModelConfig
from lycoris_ext.models.load import load_pipeline
from lycoris_ext.models.part_configs import build_meta
from lycoris_ext.models.pipeline import BaseSchedule, Conditioning, Pipeline

__all__ = ["BaseSchedule", "Conditioning", "ModelConfig", "Pipeline", "build_meta", "load_pipeline"]
