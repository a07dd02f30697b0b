"""ai-toolkit's data sets, and the pictures that it draws during training.

Source: https://github.com/ostris/ai-toolkit at 27a03a9, DatasetConfig and SampleConfig in
toolkit/config_modules.py, dataloader_mixins.py.
"""

from __future__ import annotations

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.prompt_lines import prompt_line
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Rule,
    Settings,
    all_of,
    becomes,
    flag,
    number,
    only,
    text,
    whole,
)


def read_samples(settings: Settings) -> None:
    usual = {
        "n": settings.take("sample.neg"),
        "w": settings.take("sample.width", 512),
        "h": settings.take("sample.height", 512),
        "d": settings.take("sample.seed", 0),
        "s": settings.take("sample.sample_steps", 20),
        "l": settings.take("sample.guidance_scale", 7),
    }
    names = {"n": "neg", "w": "width", "h": "height", "s": "sample_steps", "l": "guidance_scale"}
    prompts = settings.take("sample.prompts", [])
    rows = settings.take_rows("sample.samples")
    rows = rows or [{"prompt": prompt} for prompt in prompts if isinstance(prompt, str)]
    walks = settings.take("sample.walk_seed") is True
    trigger = settings.left.get("trigger_word")
    lines = []
    for place, row in enumerate(rows):
        own = {letter: row.get(name, usual[letter]) for letter, name in names.items()}
        own["d"] = row.get("seed", usual["d"])
        if walks and "seed" not in row and isinstance(own["d"], int):
            own["d"] += place
        prompt = str(row.get("prompt") or "").replace("[trigger]", str(trigger or ""))
        lines.append(prompt_line(prompt, own))
    if lines:
        settings.values["sample_prompts"] = lines
        settings.values["sample_at_first"] = settings.take("train.skip_first_sample") is not True


def read_datasets(settings: Settings) -> None:
    """Read the data sets; one with several resolutions is trained at each of them."""
    datasets = []
    for row in settings.take_rows("datasets"):
        table = Settings(settings.program, settings.where, row)
        resolutions = table.take_list("resolution") or [512]
        size = table.take_as(whole, "batch_size", 0)
        table.values["caption_extension"] = ".txt"
        keep = table.take_as(whole, "keep_tokens", 0)
        if keep and table.left.get("shuffle_tokens") is not True:
            table.values["keep_tokens"] = keep
        table.follow(_DATASET)
        if "conditioning_data_dir" in table.values:
            settings.values["masked_loss"] = True
        shape = {"enable_bucket": table.values.pop("enable_bucket", True)}
        if size:
            shape["batch_size"] = size
        for resolution in resolutions:
            if isinstance(resolution, int):
                datasets.append({"resolution": resolution, **shape, "subsets": [table.values]})
            else:
                table.refuse("resolution", resolution, "write a whole number")
        settings.join(f"data set {row.get('folder_path') or row.get('dataset_path')}", table)
    if datasets:
        settings.values["datasets"] = datasets


def _extension(value: object) -> str:
    return f".{text(value).removeprefix('.')}"


_DATASET: dict[str, Rule] = {
    "folder_path": becomes("image_dir", text),
    "dataset_path": becomes("image_dir", text),
    "num_repeats": becomes("num_repeats", whole),
    "caption_ext": becomes("caption_extension", _extension),
    "is_reg": becomes("is_reg", flag),
    "default_caption": becomes("class_tokens", text),
    "shuffle_tokens": becomes("shuffle_caption", flag),
    "caption_dropout_rate": becomes("caption_dropout_rate", number),
    "token_dropout_rate": becomes("caption_tag_dropout_rate", number),
    "flip_x": becomes("flip_aug", flag),
    "alpha_mask": becomes("alpha_mask", flag),
    "buckets": becomes("enable_bucket", flag),
    "trigger_word": only(fix="write the word into the captions, or set caption_prefix"),
    "random_triggers": only(fix=fixes.BESIDE),
    "use_short_captions": only(fix=fixes.BESIDE),
    "replacements": only(fix=fixes.BESIDE),
    "flip_y": only(fix="put upside-down copies into the folder"),
    "random_crop": becomes("random_crop", flag),
    "random_scale": only(fix="train at several resolutions"),
    "scale": only(1, fix="set scale to 1 and choose another resolution"),
    "square_crop": only(fix="set enable_bucket = false, which cuts all pictures to the resolution"),
    "augments": only(fix=fixes.CHANGED_COPIES),
    "augmentations": only(fix=fixes.CHANGED_COPIES),
    "mask_path": becomes("conditioning_data_dir", text),
    "invert_mask": only(fix="invert the masks"),
    "mask_min_value": only(0, fix="make the black parts of the masks grey"),
    "prior_reg": only(fix=fixes.REGULARISATION),
    "network_weight": only(1, fix="remove it"),
    "loss_multiplier": only(1, fix="use a larger or smaller num_repeats"),
    "standardize_images": only(fix="train without it"),
    "control_path*": only(fix="train without control pictures"),
    "controls": only(fix="train without control pictures"),
    "inpaint_path": only(fix="train without it"),
    "unconditional_path": only(fix="train without it"),
    "clip_image_*": NOTHING,
    **all_of(
        """
        audio_* auto_frame_count bucket_tolerance cache_* caption_type control_* debug
        diff_output_preservation* do_audio do_i2v extra_values fast_image_size fps
        full_size_control_images guidance_type load_image_when_caching_latents
        num_controls_from_same_folder num_frames num_workers prefetch_factor random_triggers_max
        replay_transforms shrink_video_to_frames shuffle_augmentations trim_auto_frame_count_tail
        type
        """,
        NOTHING,
    ),
}
