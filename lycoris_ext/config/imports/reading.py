"""What is noticed while configs of other programs are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.printable import printable
from lycoris_ext.words import short


@dataclass
class Reading:
    """Collects what a config of another program asks for and is not supported here.

    Attributes:
        skip_unsupported: leave such settings out; otherwise they are errors.
        left_out: an error for each setting that was left out.
        notes: sentences about settings that were taken in another way than they were written.
        refused: whether any setting is not supported.
    """

    skip_unsupported: bool = False
    left_out: list[LycorisExtError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: bool = False

    def refuse(self, errors: Iterable[LycorisExtError], faults: Faults) -> None:
        """Leave settings out, or add their errors to ``faults``.

        Args:
            errors: one for each setting that is not supported; one met before is not repeated.
            faults: the errors of the whole config.
        """
        kept = self.left_out if self.skip_unsupported else faults.found
        for error in errors:
            self.refused = True
            for part in error.parts:
                if not any(str(part) == str(other) for other in kept):
                    kept.append(part)

    def note(self, text: str) -> None:
        """Keep a sentence for the user, unless it is there already."""
        if (text := printable(text)) not in self.notes:
            self.notes.append(text)


def unsupported(name: str, value: object, where: str, fix: str) -> ConfigError:
    """Make the error for a setting that decides the result and is not supported here.

    Args:
        name: of the option.
        value: that the file gives it.
        where: the file, for the message.
        fix: the nearest thing that works.
    """
    return ConfigError(f"{name} = {shown(value)} is not supported", where=where, fix=fix)


def shown(value: object) -> str:
    """Write a value for a message, as JSON writes it: true, 0.5, "cosine", [512, 768]."""
    return short(json.dumps(value, ensure_ascii=False, default=str), most=80)
