"""Build and compare what a reader of another program's config returns."""

from __future__ import annotations

from lycoris_ext.config import OptionSource, TrainConfig, build_config
from lycoris_ext.config.imports.foreign import Foreign


def built(foreign: Foreign) -> TrainConfig:
    """Build the config, as ``read_config`` and ``build_config`` do, of what was understood."""
    return build_config([OptionSource("config", foreign.values, is_foreign=True)])


def assert_refused(foreign: Foreign, words: str) -> None:
    """Check that one setting is refused, that its fix has these words, and that the rest works."""
    (error,) = foreign.unsupported
    assert words in str(error.fix)
    built(foreign)
