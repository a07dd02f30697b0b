"""HCP-Diffusion's data sets.

Source: https://github.com/IrisRainbowNeko/HCP-Diffusion at 404f0e8, cfgs/train/dataset,
hcpdiff/data/source/text2img.py, prompt_tuning_template.
"""

from __future__ import annotations

from collections.abc import Mapping

from lycoris_ext.config.imports import fixes
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
    whole_from_1,
)
from lycoris_ext.files import read_text_within


def read_data(settings: Settings, data: object) -> int:
    """Read the data sets as ``datasets``, and return the number of pictures in a step."""
    tables = data if isinstance(data, Mapping) else {}
    datasets, batch = [], 0
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            continue
        part = Settings(settings.program, settings.where, {**table, "source": None})
        size = part.take_as(whole_from_1, "batch_size", 4)
        batch += size
        shape = _shape(part)
        weight = part.take_as(number, "loss_weight", 1.0)
        part.follow(_DATASET)
        subsets = []
        sources = table.get("source")
        for source in sources.values() if isinstance(sources, Mapping) else ():
            if isinstance(source, Mapping):
                subsets.append(_subset(part, source))
                if weight != 1:
                    subsets[-1]["loss_weight"] = weight
        settings.join(f"data.{name}", part)
        datasets.append({"batch_size": size, **shape, "subsets": subsets})
    if len(datasets) > 1:
        settings.refuse(
            "data",
            list(tables),
            "use one data set; of pictures of a class make regularisation pictures: is_reg = true",
        )
    if any(dataset["subsets"] for dataset in datasets):
        settings.values["datasets"] = datasets
    return batch or 1


def _shape(part: Settings) -> dict[str, object]:
    """Read the bucket: the area of all shapes, or one shape."""
    kind = part.take_word("bucket._target_", "RatioBucket").split(".")
    area = part.take("bucket.target_area", 512 * 512)
    size = part.take("bucket.target_size")
    if "FixedBucket" in kind and isinstance(size, list) and len(size) == 2:
        return {"resolution": f"{size[0]},{size[1]}", "enable_bucket": False}
    try:
        side = round(number(area) ** 0.5)
    except (ValueError, TypeError, OverflowError):
        part.refuse("bucket.target_area", area, "write the number of pixels of a picture")
        side = 512
    if "SizeBucket" in kind:
        part.refuse("bucket", "SizeBucket", "set resolution; pictures are scaled to its area here")
    return {"resolution": side, "enable_bucket": True}


def _subset(part: Settings, source: Mapping[str, object]) -> dict[str, object]:
    folder = Settings(part.program, part.where, source)
    root = str(folder.left.get("img_root", ""))
    template = folder.take("prompt_template")
    if isinstance(template, str) and not _is_plain(folder, template):
        folder.refuse(
            "prompt_template", template, f"{fixes.BESIDE}, with the words of the template"
        )
    captions = folder.take("caption_file")
    if isinstance(captions, str) and captions.rstrip("/\\") != root.rstrip("/\\"):
        folder.refuse("caption_file", captions, fixes.BESIDE)
    folder.follow(_SOURCE)
    part.unsupported += folder.unsupported
    return folder.values


def _is_plain(folder: Settings, template: str) -> bool:
    """Return True if a template's prompts are the captions and nothing else."""
    found = folder.companion(template)
    if found is None:
        return template.replace("\\", "/").rpartition("/")[2] in ("caption.txt", "hcp_caption.txt")
    try:
        lines = read_text_within(found).split("\n")
    except (OSError, ValueError):
        return False
    return {line.strip() for line in lines if line.strip()} <= {"{caption}", "{pt1}{caption}"}


_SOURCE: dict[str, Rule] = {
    "img_root": becomes("image_dir", text),
    "repeat": becomes("num_repeats", whole),
    "att_mask": only(fix=fixes.MASKS),
    **all_of(
        "_target_ _partial_ bg_color word_names.* text_transforms.* image_transforms*", NOTHING
    ),
}
_DATASET: dict[str, Rule] = {
    "att_mask_encode": only(fix="train without it"),
    "cache_path": becomes("cache_dir", text),
    "flip": becomes("flip_aug", flag),
    **all_of("_target_ _partial_ cache_latents bucket.* source", NOTHING),
}
