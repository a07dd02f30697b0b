"""Options of the training pictures and captions, under sd-scripts' names."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.errors import ConfigError

Resolution = tuple[int, int]

SD_SCRIPTS_BUCKETS = (256, 1024, 64)
"""sd-scripts' min_bucket_reso, max_bucket_reso and bucket_reso_steps."""

CHANGE_CAPTIONS = (
    "shuffle_caption",
    "enable_wildcard",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
)
"""Options that show a caption differently from epoch to epoch."""


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are cut, captioned and batched.

    Args:
        train_data_dir: the PARENT of folders named ``<repeats>_<name>`` that hold pictures and
            captions.
        image_dir: one folder of pictures with any name, instead of train_data_dir.
        num_repeats: how often an epoch shows each picture of image_dir.
        reg_data_dir: regularisation pictures: the PARENT of folders named ``<repeats>_<class>``;
            an epoch shows as many of them as training pictures. Without a caption file the caption
            is the class.
        resolution: side in pixels ("512") or "width,height"; its area is what a bucket may fill.
        enable_bucket: keep each picture's shape by cutting it to the nearest aspect ratio of the
            same area; off: everything is cut to `resolution`.
        min_bucket_reso: shortest side of a bucket in pixels (unset: 256, or half the resolution
            where that does not fit).
        max_bucket_reso: longest side of a bucket in pixels (unset: 1024, or twice the resolution).
        bucket_reso_steps: bucket sides are multiples of this (unset: 64, or 16 for a resolution
            below 256).
        bucket_no_upscale: never enlarge a picture; small ones get buckets of their own size.
        caption_extension: ending of the caption file beside each picture.
        allow_missing_captions: train pictures without a caption on their folder's name.
        shuffle_caption: shuffle the tags of each caption anew in every epoch.
        keep_tokens: the first so many tags keep their place and are never dropped.
        keep_tokens_separator: a mark such as "|||" in captions: tags before it are kept as by
            keep_tokens, tags after a second one keep their place at the end.
        caption_separator: what stands between tags.
        secondary_separator: a mark such as ";" for what belongs together: shuffled and dropped as
            one tag, then written with caption_separator.
        caption_prefix: put before every caption, with a space between.
        caption_suffix: put after every caption, with a space between.
        enable_wildcard: "{red|blue}" in a caption is one of these, drawn anew in every epoch, and
            of several lines one is drawn; "{{" and "}}" are braces.
        caption_dropout_rate: share of pictures shown without any caption, 0 to 1.
        caption_dropout_every_n_epochs: every so many epochs all captions are left out; 0: never.
        caption_tag_dropout_rate: share of tags left out, 0 to 1.
        flip_aug: show pictures mirrored half of the time.
        alpha_mask: transparent parts of pictures do not count in the loss (half transparent ones
            half); the colours beneath them are shown to the model. Off: they become white.
        cache_latents_to_disk: keep the pictures' latents in files instead of in memory; later runs
            find them there.
        cache_text_encoder_outputs: encode every caption before the first step; for captions that
            never change and a text encoder that is not trained.
        cache_text_encoder_outputs_to_disk: the same, kept in files.
        cache_dir: folder of these files (unset: "cache" in output_dir); runs may share it.
        train_batch_size: pictures per forward pass.
        max_data_loader_n_workers: processes that prepare captions and order; 0: the main process
            does it.
    """

    train_data_dir: str = ""
    image_dir: str = ""
    num_repeats: int = 1
    reg_data_dir: str = ""
    resolution: int | str = 512
    enable_bucket: bool = True
    min_bucket_reso: int | None = None
    max_bucket_reso: int | None = None
    bucket_reso_steps: int | None = None
    bucket_no_upscale: bool = False
    caption_extension: str = ".txt"
    allow_missing_captions: bool = False
    shuffle_caption: bool = False
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    caption_separator: str = ","
    secondary_separator: str = ""
    caption_prefix: str = ""
    caption_suffix: str = ""
    enable_wildcard: bool = False
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    flip_aug: bool = False
    alpha_mask: bool = False
    cache_latents_to_disk: bool = False
    cache_text_encoder_outputs: bool = False
    cache_text_encoder_outputs_to_disk: bool = False
    cache_dir: str = ""
    train_batch_size: int = 1
    max_data_loader_n_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("num_repeats", "train_batch_size"):
            _require(
                getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1"
            )
        for name in (
            "keep_tokens",
            "caption_dropout_every_n_epochs",
            "max_data_loader_n_workers",
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("caption_dropout_rate", "caption_tag_dropout_rate"):
            rate = getattr(self, name)
            _require(0.0 <= rate <= 1.0, name, rate, "a share between 0 and 1")
        _require(
            bool(self.caption_separator),
            "caption_separator",
            self.caption_separator,
            "a text such as ','",
        )
        _require(
            self.caption_extension.startswith("."),
            "caption_extension",
            self.caption_extension,
            "an ending with its dot, such as '.txt'",
        )
        if self.train_data_dir and self.image_dir:
            raise ConfigError(
                f"both train_data_dir ({self.train_data_dir}) and image_dir ({self.image_dir}) "
                "are given",
                fix="give one: train_data_dir for folders named <repeats>_<name>, image_dir for "
                "one folder of any name",
            )
        self._check_text_cache()
        self._check_buckets()

    @property
    def caches_text(self) -> bool:
        """Whether captions are encoded before the first step."""
        return self.cache_text_encoder_outputs or self.cache_text_encoder_outputs_to_disk

    @property
    def text_cache_option(self) -> str:
        """The option that asked for it, for messages."""
        disk = self.cache_text_encoder_outputs_to_disk
        return "cache_text_encoder_outputs_to_disk" if disk else "cache_text_encoder_outputs"

    @property
    def size(self) -> Resolution:
        """`resolution` as (width, height) in pixels."""
        parts = [part.strip() for part in str(self.resolution).split(",")]
        if len(parts) not in (1, 2) or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise ConfigError(
                f"resolution {self.resolution!r} is neither one number nor two",
                where="resolution",
                fix='write 512, or "512,768" for width and height in pixels',
            )
        return int(parts[0]), int(parts[-1])

    @property
    def bucket_limits(self) -> tuple[int, int, int]:
        """(min_bucket_reso, max_bucket_reso, bucket_reso_steps) with what is unset filled in, in
        pixels.

        sd-scripts' values where the resolution lies between them; a smaller or larger resolution,
        for which sd-scripts would stop, gets limits of half and twice its sides. As there, limits
        that are no multiples of the step are widened to the next one.
        """
        low, high, step = SD_SCRIPTS_BUCKETS
        short, long = min(self.size), max(self.size)
        if self.bucket_reso_steps is not None:
            step = self.bucket_reso_steps
        elif short < low:
            step = 16
        if short < low:
            low = max(step, short // 2 // step * step)
        if long > high:
            high = long * 2
        elif short < SD_SCRIPTS_BUCKETS[0]:
            high = max(long * 2, low)
        low, high = self.min_bucket_reso or low, self.max_bucket_reso or high
        return max(step, low // step * step), -(-high // step) * step, step

    def _check_text_cache(self) -> None:
        for name in CHANGE_CAPTIONS:
            if self.caches_text and getattr(self, name):
                raise ConfigError(
                    f"{self.text_cache_option} keeps one encoding of each caption, and "
                    f"{name} = {str(getattr(self, name)).lower()} changes captions from epoch to "
                    "epoch",
                    where=self.text_cache_option,
                    fix=f"remove one of {self.text_cache_option} and {name}",
                )

    def _check_buckets(self) -> None:
        _require(
            self.bucket_reso_steps is None or self.bucket_reso_steps >= 1,
            "bucket_reso_steps",
            self.bucket_reso_steps,
            "at least 1, and a multiple of 8 for Stable Diffusion",
        )
        if not self.enable_bucket:
            return
        low, high, _ = self.bucket_limits
        if min(self.size) < low:
            raise ConfigError(
                f"min_bucket_reso {low} is above the resolution {self.resolution}",
                where="min_bucket_reso",
                fix=f"set min_bucket_reso to at most {min(self.size)} or raise resolution",
            )
        if max(self.size) > high:
            raise ConfigError(
                f"max_bucket_reso {high} is below the resolution {self.resolution}",
                where="max_bucket_reso",
                fix=f"set max_bucket_reso to at least {max(self.size)} or lower resolution",
            )


def _require(good: bool, name: str, value: object, expected: str) -> None:
    if not good:
        raise ConfigError(
            f"{name} is {value!r}, expected {expected}", where=name, fix=f"change {name}"
        )
