"""Training pictures and captions: folders, buckets, order, cached latents, batches."""

from lycoris_ext.data.buckets import Placement, bucket_resolutions, place
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.dataset import BatchPlan, TrainingSet, open_training_set
from lycoris_ext.data.folders import Picture, Scan, scan_folders
from lycoris_ext.data.latents import LatentCache, cache_latents
from lycoris_ext.data.loader import iterate_batches
from lycoris_ext.data.pictures import check_pictures, open_picture, picture_to_tensor
from lycoris_ext.data.randomness import derive_seed, python_random, torch_generator

__all__ = [
    "BatchPlan",
    "DataConfig",
    "LatentCache",
    "Picture",
    "Placement",
    "Scan",
    "TrainingSet",
    "bucket_resolutions",
    "cache_latents",
    "check_pictures",
    "derive_seed",
    "iterate_batches",
    "open_picture",
    "open_training_set",
    "picture_to_tensor",
    "place",
    "python_random",
    "scan_folders",
    "torch_generator",
]
