"""The options as tables of docs/training.md, from the dataclasses that obey them.

`python -m lycoris_ext.config.document docs/training.md` writes them anew between their marks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.config.options import all_options, section_types
from lycoris_ext.config.values import describe_type
from lycoris_ext.formats import atomic_write
from lycoris_ext.training.optimizer_kinds import optimizer_kinds

BEGIN = "<!-- options: written by lycoris_ext.config.document -->"
END = "<!-- end of options -->"


def options_as_markdown() -> str:
    """One table a section: option, type, default, what it does."""
    blocks = []
    for section, kind in section_types().items():
        about = (kind.__doc__ or "").strip().partition("\n")[0]
        lines = [f"### [{section}]", "", about, "", "| option | type | default | |"]
        lines.append("|---|---|---|---|")
        for option in all_options().values():
            if option.section == section:
                default = "" if option.default in (None, "", ()) else f"`{_toml(option.default)}`"
                text = option.help.replace("``", "`").replace("|", "\\|")
                kinds = describe_type(option.hint)
                lines.append(f"| `{option.name}` | {kinds} | {default} | {text} |")
        blocks.append("\n".join(lines))
        if section == "optimizer":
            blocks.append(optimizers_as_markdown())
    return "\n\n".join(blocks)


def optimizers_as_markdown() -> str:
    """A table of the optimizers: name, package, memory, options, what it is."""
    lines = ["| `optimizer_type` | needs | bytes of state a parameter | reads | |"]
    lines.append("|---|---|---|---|---|")
    for kind in optimizer_kinds():
        needs = f"`{kind.package}`" if kind.package else "no other package"
        reads = ", ".join(f"`{known.name}`" for known in kind.options)
        lines.append(
            f"| `{kind.name}` | {needs} | {kind.state_bytes:g} | {reads} | {kind.summary} |"
        )
    return "\n".join(lines)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def updated(page: str) -> str:
    """A page with the tables between its marks as they should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{options_as_markdown()}\n\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the tables of the named pages anew."""
    for name in arguments:
        path = Path(name)
        atomic_write(path, updated(path.read_text(encoding="utf-8")).encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
