"""Training pictures and captions: find and check them, crop, cache and batch them."""

from lycoris_ext.data.buckets import Crop, bucket_resolutions, choose_crop
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.dataset import (
    BatchPlan,
    TrainingSet,
    check_bucket_sizes,
    open_training_set,
)
from lycoris_ext.data.examine import examine, scan_folders
from lycoris_ext.data.findings import Code, Finding, Location, finding_lines, raise_if_errors
from lycoris_ext.data.latents import LatentCache, PictureBatch, cache_latents
from lycoris_ext.data.loader import iterate_batches
from lycoris_ext.data.pictures import check_picture, open_picture, picture_to_tensor
from lycoris_ext.data.randomness import derive_seed, python_random, torch_generator
from lycoris_ext.data.repair import Rewritten, rewrite_captions
from lycoris_ext.data.rules import rule
from lycoris_ext.data.scan import Picture, Scan
from lycoris_ext.data.store import DiskStore, MemoryStore, TensorStore, cache_key, weights_digest
from lycoris_ext.data.subset import Subset, SubsetEntry
from lycoris_ext.data.summary import summarize
from lycoris_ext.data.token_limit import TokenLimit

__all__ = [
    "BatchPlan",
    "Code",
    "Crop",
    "DataConfig",
    "DiskStore",
    "Finding",
    "LatentCache",
    "Location",
    "MemoryStore",
    "Picture",
    "PictureBatch",
    "Rewritten",
    "Scan",
    "Subset",
    "SubsetEntry",
    "TensorStore",
    "TokenLimit",
    "TrainingSet",
    "bucket_resolutions",
    "cache_key",
    "cache_latents",
    "check_bucket_sizes",
    "check_picture",
    "choose_crop",
    "derive_seed",
    "examine",
    "finding_lines",
    "iterate_batches",
    "open_picture",
    "open_training_set",
    "picture_to_tensor",
    "python_random",
    "raise_if_errors",
    "rewrite_captions",
    "rule",
    "scan_folders",
    "summarize",
    "torch_generator",
    "weights_digest",
]
