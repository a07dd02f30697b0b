"""What widgets are called on the screen, and tooltips where an option's help does not fit a widget.

A widget keeps the name of its option, because saved workflows and the API hold it; the page shows
the name that ComfyUI's users know ("rank" for network_dim).
"""

from __future__ import annotations

import re

#: Option -> the name on the screen; others are shown with spaces in place of underscores.
NAMES = {
    "algo": "algorithm",
    "network_dim": "rank",
    "network_alpha": "alpha",
    "conv_dim": "rank of convolutions",
    "conv_alpha": "alpha of convolutions",
    "preset": "preset of layers",
    "include": "also these layers",
    "exclude": "not these layers",
    "train_norm": "train norm layers",
    "rank_dropout_scale": "rescale rank dropout",
    "module_dropout": "layer dropout",
    "dora_wd": "DoRA",
    "wd_on_output": "DoRA of output channels",
    "use_tucker": "Tucker decomposition",
    "use_scalar": "trained scale per layer",
    "rs_lora": "rank-stabilised (rsLoRA)",
    "bypass_mode": "compute without a full matrix",
    "factor": "size of the first factor",
    "full_matrix": "full factors",
    "decompose_both": "decompose both factors",
    "unbalanced_factorization": "larger first factor",
    "train_on_input": "(IA)^3 on input channels",
    "constraint": "OFT constraint",
    "rescaled": "OFT with scaling",
    "block_size": "DyLoRA block size",
    "optimizer_type": "optimizer",
    "unet_lr": "model learning rate",
    "text_encoder_lr": "text encoder learning rate",
    "loraplus_lr_ratio": "LoRA+ ratio",
    "loraplus_unet_lr_ratio": "LoRA+ ratio of the model",
    "loraplus_text_encoder_lr_ratio": "LoRA+ ratio of the text encoder",
    "adam_beta1": "beta 1",
    "adam_beta2": "beta 2",
    "adam_epsilon": "epsilon",
    "sgd_momentum": "momentum of SGD",
    "rmsprop_alpha": "smoothing of RMSprop",
    "max_grad_norm": "gradient clipping",
    "scale_weight_norms": "max norm of an update",
    "ema_decay": "EMA decay",
    "gradient_accumulation_steps": "gradient accumulation",
    "lr_scheduler": "schedule",
    "lr_warmup_steps": "warm-up steps",
    "optimizer_args": "settings of the optimizer",
    "stop_text_encoder_training": "stop the text encoder",
    "lr_scheduler_step_rules": "factors of the rate",
    "lr_scheduler_num_cycles": "cycles",
    "lr_scheduler_power": "power",
    "lr_scheduler_min_lr_ratio": "lowest share of the rate",
    "lr_scheduler_timescale": "timescale",
    "lr_decay_steps": "decay steps",
    "loss_type": "loss",
    "huber_schedule": "Huber schedule",
    "huber_c": "Huber threshold",
    "huber_scale": "Huber scale",
    "min_snr_gamma": "min-SNR gamma",
    "debiased_estimation_loss": "debiased estimation",
    "scale_v_pred_loss_like_noise_pred": "weigh v-prediction like noise",
    "v_pred_like_loss": "add v-prediction loss",
    "prior_loss_weight": "weight of regularisation",
    "noise_offset_random_strength": "random noise offset",
    "adaptive_noise_scale": "adaptive noise offset",
    "multires_noise_iterations": "multires noise layers",
    "multires_noise_discount": "multires noise discount",
    "ip_noise_gamma": "input noise",
    "ip_noise_gamma_random_strength": "random input noise",
    "min_timestep": "first timestep",
    "max_timestep": "timesteps below",
    "train_batch_size": "batch size",
    "num_repeats": "repeats",
    "enable_bucket": "keep aspect ratios",
    "min_bucket_reso": "shortest side",
    "max_bucket_reso": "longest side",
    "bucket_reso_steps": "sides in multiples of",
    "bucket_no_upscale": "never enlarge",
    "shuffle_caption": "shuffle tags",
    "keep_tokens": "keep first tags",
    "keep_tokens_separator": "mark after kept tags",
    "caption_separator": "tag separator",
    "secondary_separator": "mark inside groups of tags",
    "caption_tag_dropout_rate": "tag dropout",
    "token_warmup_min": "tags of the first step",
    "token_warmup_step": "all tags from step",
    "caption_dropout_rate": "caption dropout",
    "caption_dropout_every_n_epochs": "no captions every n epochs",
    "caption_extension": "ending of caption files",
    "enable_wildcard": "wildcards",
    "flip_aug": "mirror at random",
    "alpha_mask": "mask by transparency",
    "max_token_length": "tokens of a caption",
    "max_train_steps": "steps",
    "max_train_epochs": "epochs",
    "save_every_n_steps": "save every n steps",
    "save_every_n_epochs": "save every n epochs",
    "sample_every_n_steps": "draw every n steps",
    "sample_every_n_epochs": "draw every n epochs",
    "sample_at_first": "draw before the first step",
    "sample_prompts": "prompts",
    "sample_negative": "negative prompt",
    "network_weights": "start from",
    "output_name": "file name",
    "mixed_precision": "precision of the model",
    "save_precision": "precision of the file",
    "training_comment": "comment",
    "metadata_title": "title",
    "metadata_author": "author",
    "metadata_description": "description",
    "metadata_trigger_phrase": "trigger words",
    "metadata_license": "license",
    "metadata_tags": "tags",
    "metadata_usage_hint": "hint for use",
    "save_last_n_steps": "keep copies of last n steps",
    "save_last_n_epochs": "keep copies of last n epochs",
    "reg_folder": "regularisation folder",
    "lora_name": "LoRA",
    "when_it_exists": "if the file exists",
    "without_adapter": "also without a LoRA",
    "adapter_2": "second adapter",
    "adapter_3": "third adapter",
    "strength_clip": "strength of the text encoder",
    "strength_model": "strength of the model",
}

#: Option -> the whole tooltip, where the help speaks of config files or of an empty field.
SENTENCES = {
    "preset": "Which layers get an adapter. full: all; full-lin: all but convolutions larger than "
    "1x1; attn-mlp: attention and feed-forward; attn-only: attention; those with unet: none in the "
    "text encoder; none: only the layers that Network Advanced: Layers adds.",
    "conv_dim": "Rank of the adapter in convolutions larger than 1x1. 0: these get no adapter; "
    "-1: as the rank of the other layers, but 0 for lora.",
    "resolution": "Side in pixels of the square that pictures are cut to, such as 512. With "
    "enable_bucket other shapes of the same area are used as well. 0: the size that the model was "
    "made for.",
    "min_timestep": "Train only timesteps from this one on; 0 is the one with the least noise.",
    "max_timestep": "Train only timesteps below this one. 1000: up to the last one of the model.",
    "network_train_unet_only": "Train only the diffusion model; the text encoder stays unchanged.",
    "learning_rate": "Learning rate: how far each step changes the adapter's weights.",
    "unet_lr": "Learning rate of the adapter in the diffusion model. 0: that part is not trained; "
    "-1: as learning_rate.",
    "text_encoder_lr": "Learning rate of the adapter in the text encoder, if that is trained. 0: "
    "that part is not trained; -1: as learning_rate.",
    "loraplus_unet_lr_ratio": "LoRA+ for the diffusion model alone: factors on the output side of "
    "its adapter (such as lora_up) get this many times the learning rate of the others. 0: as "
    "loraplus_lr_ratio.",
    "loraplus_text_encoder_lr_ratio": "LoRA+ for the text encoder alone: factors on the output "
    "side of its adapter (such as lora_up) get this many times the learning rate of the others. "
    "0: as loraplus_lr_ratio.",
    "lr_scheduler_min_lr_ratio": "Lowest learning rate, as a share of the full one, to which "
    "cosine_with_min_lr and warmup_stable_decay fall; cosine_with_min_lr needs a value above 0.",
    "optimizer_type": "The optimizer, under the name that sd-scripts has for it: how "
    "gradients change the adapter's weights.",
    "optimizer_args": "Further settings of the optimizer's class as name=value, such as "
    "d_coef=2 for Prodigy. One on each line.",
    "stop_text_encoder_training": "Number of steps after which the adapter of the text encoder "
    "stays as it is; below 1 a share of all steps. 0: it is trained to the end.",
    "lr_scheduler": "How the learning rate changes over the run: constant and "
    "constant_with_warmup keep it; linear, cosine, polynomial and rex fall "
    "to 0 at the end of the run; cosine_with_restarts falls to 0 several "
    "times; cosine_with_min_lr falls to a lowest rate; inverse_sqrt falls "
    "ever more slowly; warmup_stable_decay keeps it and falls at the end. "
    "All but constant can begin with a warm-up.",
    "lr_scheduler_step_rules": "Factors of the learning rate, such as 1:100,0.1:200,0.01: the full "
    "rate for 100 steps, a tenth up to step 200, then a hundredth.",
    "max_train_steps": "Length of the run in optimizer steps. Not used if max_train_epochs is set.",
    "max_train_epochs": "Length of the run in epochs, each of which shows every picture as often "
    "as it is repeated. 0: max_train_steps decides.",
    "save_precision": "Number format of the adapter file; float is float32.",
    "sample_at_first": "Draw the prompts before the first step, too.",
    "sample_every_n_steps": "Draw the prompts every so many steps. 0: never.",
    "sample_every_n_epochs": "Draw the prompts at the end of every so many epochs. 0: never.",
    "save_every_n_steps": "Save a copy of the adapter as NAME-step-N every so many steps. 0: never."
    " Compare LoRAs draws these copies.",
    "save_last_n_steps": "Age in steps up to which such copies are kept; older ones are deleted "
    "when the next one is saved. 0: all are kept.",
    "save_last_n_epochs": "Number of copies of epochs that are kept; older ones are deleted when "
    "the next one is saved. 0: all are kept.",
    "save_every_n_epochs": "Save a copy of the adapter as NAME-step-N at the end of every so many "
    "epochs. 0: never. Compare LoRAs draws these copies.",
    "max_token_length": "How many tokens of a caption the text encoder reads: 75, 150 or 225; the "
    "rest of a longer caption is not used. A tag takes about three tokens. A limit above 75 makes "
    "a step a little slower.",
    "training_comment": "A note about the training, for the metadata of the file.",
    "metadata_title": "Title of the adapter in the metadata of the file. Empty: its file name.",
    "metadata_author": "Who made the adapter, for the metadata of the file.",
    "metadata_description": "What the adapter is for, for the metadata of the file.",
    "metadata_license": "License of the adapter, for the metadata of the file.",
    "metadata_tags": "Keywords with commas between them, for the metadata of the file.",
    "metadata_usage_hint": "How to use the adapter, for the metadata of the file.",
    "metadata_trigger_phrase": "The words that call up what the adapter learnt, for the metadata "
    "of the file. Empty: the tags that nearly all captions of a folder have.",
    "bucket_no_upscale": "Never enlarge a picture that is smaller than the resolution; crop it.",
    "allow_missing_captions": "Use the name of its folder as the caption of a picture without a "
    "caption file; off: such a picture is an error.",
}

_ID = re.compile(r"\b[a-z]+[0-9]*(?:_[a-z0-9]+)+\b")


def name_of(option: str) -> str:
    """Return what the page calls the widget of an option."""
    return NAMES.get(option, option.replace("_", " "))


def readable(sentence: str, options: frozenset[str]) -> str:
    """Return a sentence in which other options are called as the page calls their widgets.

    Args:
        sentence: the help of an option.
        options: the names of all options.
    """

    def named(found: re.Match[str]) -> str:
        return f'"{name_of(found[0])}"' if found[0] in options else found[0]

    return _ID.sub(named, sentence.replace("``", ""))
