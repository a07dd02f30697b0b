"""Options of pictures and captions, under sd-scripts' names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lycoris_ext.data.subset import Subset, SubsetEntry, SubsetOptions
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.files import expanded
from lycoris_ext.options import Option, option

# The order in written configs and docs: these options, those of subsets, the others, _LAST.
_FIRST = ("train_data_dir", "image_dir", "in_json", "num_repeats", "reg_data_dir", "subsets")
_LAST = ("train_batch_size", "max_data_loader_n_workers")


@dataclass(frozen=True, init=False)
class DataConfig(SubsetOptions):
    """Where the pictures are and how they are cut, captioned and batched."""

    train_data_dir: str = option(
        "",
        "The PARENT of folders named ``<repeats>_<name>``, such as 10_mystyle, that hold pictures "
        "and captions.",
        is_path=True,
        may_change="always",
    )
    image_dir: str = option(
        "",
        "One folder of pictures and captions, of any name; give train_data_dir or image_dir.",
        is_path=True,
        may_change="always",
    )
    in_json: str = option(
        "",
        "The metadata JSON of sd-scripts' fine-tuning method, which names the pictures and holds "
        "their captions and tags; caption files are then not read, and train_data_dir is the "
        "folder of the pictures itself.",
        is_path=True,
        may_change="always",
    )
    reg_data_dir: str = option(
        "",
        "Regularisation pictures: the PARENT of folders named ``<repeats>_<class>``. An epoch "
        "shows at least as many of them as training pictures, repeats counted: if there are more, "
        "only the first ones; if there are fewer, their repeats are raised. Those without a "
        "caption file have the class as their caption.",
        is_path=True,
        may_change="always",
    )
    subsets: tuple[SubsetEntry, ...] | None = option(
        None,
        "Further folders of pictures, each a table ``[[data.subsets]]`` with image_dir, is_reg, "
        "class_tokens and any options about repeats, resolution, captions, mirroring or batch size "
        "that are to differ from those of the whole data set.",
        unset="there are none",
        may_change="always",
    )
    masked_loss: bool = option(
        False,
        "Weigh each place of a picture in the loss by the masks in conditioning_data_dir.",
    )
    cache_latents_to_disk: bool = option(
        False,
        "Keep the pictures' latents in files in cache_dir instead of in memory; later runs with "
        "the same cache_dir use them again.",
        may_change="always",
    )
    cache_text_encoder_outputs: bool = option(
        False,
        "Encode every caption once, before the first step; only for a text encoder that is not "
        "trained. Captions that change from epoch to epoch need caption_variants, too.",
        may_change="always",
    )
    cache_text_encoder_outputs_to_disk: bool = option(
        False,
        "Encode every caption once, before the first step, and keep the result in files for later "
        "runs; only for a text encoder that is not trained. Captions that change from epoch to "
        "epoch need caption_variants, too.",
        may_change="always",
    )
    cache_dir: str = option(
        "",
        "Folder for latents and captions that are kept in files, which runs may share.",
        unset='a folder "cache" in output_dir',
        is_path=True,
        may_change="always",
        recorded="in the run's own files",
    )
    cache_limit_gb: float | None = option(
        None,
        "Size in GB (10^9 bytes) that cache_dir may have: before the first step, the files that no "
        "run used for the longest time are deleted, but none that this run uses.",
        unset="files are never deleted",
        above=0,
        may_change="always",
        recorded="in the run's own files",
    )
    silence: tuple[str, ...] = option(
        (),
        "Codes of warnings and notes about the data set that are not told, such as LX019; "
        "`lycoris-ext check --list` names them all.",
        may_change="always",
        recorded="in the run's own files",
    )
    max_data_loader_n_workers: int = option(
        0,
        "Number of processes that prepare captions and the order of pictures, and decode pictures "
        "that are drawn anew each time; 0: the main process does it.",
        low=0,
        high=1024,
        may_change="always",
    )

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return every option by its name, in the order of written configs and docs."""
        known = super().options()
        between = (name for name in known if name not in _FIRST + _LAST)
        return {name: known[name] for name in (*_FIRST, *between, *_LAST)}

    @cached_property
    def own_subsets(self) -> tuple[Subset, ...]:
        """The subsets of the option ``subsets``, with the data set's values where they set none."""
        return tuple(self._resolve(entry) for entry in self.subsets or ())

    @property
    def caches_text(self) -> bool:
        """Whether captions are encoded before the first step."""
        return self.cache_text_encoder_outputs or self.cache_text_encoder_outputs_to_disk

    @property
    def text_cache_option(self) -> str:
        """Name of the option that switched this cache on, for messages."""
        disk = self.cache_text_encoder_outputs_to_disk
        return "cache_text_encoder_outputs_to_disk" if disk else "cache_text_encoder_outputs"

    @property
    def knows_captions(self) -> bool:
        """Whether all captions that will be shown are known before the first step."""
        return not any(options.unforeseen for options in self._used())

    @property
    def follows_length(self) -> bool:
        """Whether captions depend on the length of the run."""
        return any(0 < options.token_warmup_step < 1 for options in self._used())

    def contradictions(self) -> Iterator[LycorisExtError]:
        own = list(super().contradictions())
        if self.train_data_dir and self.image_dir:
            own.append(
                ConfigError(
                    f"both train_data_dir ({self.train_data_dir}) and image_dir ({self.image_dir}) "
                    "are given",
                    fix="give one: train_data_dir for folders named <repeats>_<name>, image_dir "
                    "for one folder of any name",
                )
            )
        yield from own
        if not own:  # a subset would repeat what is wrong with the options for all
            wrong = list(self._wrong_subsets())
            yield from wrong or (*self._wrong_text_cache(), *self._unused_masks())

    def _resolve(self, entry: SubsetEntry) -> Subset:
        name = expanded(entry.image_dir).name or Path(entry.metadata_file).stem
        # class_tokens is a caption for pictures that have none, so these are no mistake.
        allowed = {"allow_missing_captions": True} if entry.class_tokens else {}
        return Subset.of(self, **{"class_tokens": name} | allowed | entry.changed())

    def _used(self) -> list[SubsetOptions]:
        """Return the options of all subsets; folders outside of `subsets` share the data set's."""
        places = (self.train_data_dir, self.image_dir, self.in_json, self.reg_data_dir)
        return [*([self] if any(places) or not self.subsets else []), *self.own_subsets]

    def _wrong_subsets(self) -> Iterator[ConfigError]:
        for entry in self.subsets or ():
            try:
                self._resolve(entry)
            except ConfigError as error:
                for part in error.parts:
                    yield ConfigError(part.what, where=entry.where, fix=part.fix)

    def _unused_masks(self) -> Iterator[ConfigError]:
        folders = [o.conditioning_data_dir for o in (self, *self.own_subsets)]
        if any(folders) and not self.masked_loss:
            yield ConfigError(
                "conditioning_data_dir names masks, and masked_loss = false does not use them",
                where="masked_loss",
                fix="set masked_loss = true, or leave out conditioning_data_dir",
            )

    def _wrong_text_cache(self) -> Iterator[ConfigError]:
        if not self.caches_text:
            return
        cache = self.text_cache_option
        varying = {
            name: getattr(options, name) for options in self._used() for name in options.unforeseen
        }
        for name, value in varying.items():
            moment, fix = "from epoch to epoch", "set caption_variants = 10, or "
            if name == "token_warmup_step":
                moment, fix = "from step to step", ""
            yield ConfigError(
                f"{cache} keeps one encoding of each caption, and "
                f"{name} = {str(value).lower()} changes captions {moment}",
                where=cache,
                fix=f"{fix}remove one of {cache} and {name}",
            )
