"""Training pictures and captions: folders, buckets, order, caches, batches."""

from lycoris_ext.data.buckets import Placement, bucket_resolutions, place
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.dataset import (
    BatchPlan,
    TrainingSet,
    check_bucket_sizes,
    open_training_set,
)
from lycoris_ext.data.folders import Picture, Scan, scan_folders
from lycoris_ext.data.latents import LatentCache, PictureBatch, cache_latents
from lycoris_ext.data.loader import iterate_batches
from lycoris_ext.data.pictures import check_pictures, open_picture, picture_to_tensor
from lycoris_ext.data.randomness import derive_seed, python_random, torch_generator
from lycoris_ext.data.store import DiskStore, MemoryStore, TensorStore, cache_key, weights_digest
from lycoris_ext.data.summary import summarize

__all__ = [
    "BatchPlan",
    "DataConfig",
    "DiskStore",
    "LatentCache",
    "MemoryStore",
    "Picture",
    "PictureBatch",
    "Placement",
    "Scan",
    "TensorStore",
    "TrainingSet",
    "bucket_resolutions",
    "cache_key",
    "cache_latents",
    "check_bucket_sizes",
    "check_pictures",
    "derive_seed",
    "iterate_batches",
    "open_picture",
    "open_training_set",
    "picture_to_tensor",
    "place",
    "python_random",
    "scan_folders",
    "summarize",
    "torch_generator",
    "weights_digest",
]
