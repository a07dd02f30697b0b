"""The command `lycoris-ext`: one module per subcommand; exit_codes.py lists the exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword

from lycoris_ext.cli.exit_codes import EXIT_CODES, INTERRUPTED, exit_code
from lycoris_ext.errors import ConfigError, EnvironmentFault, LycorisExtError, MemoryFault
from lycoris_ext.files import told_in_words
from lycoris_ext.streams import lasting_streams

COMMANDS = {
    "init": "write a commented config for a folder of pictures",
    "train": "train an adapter, or continue a run that was stopped",
    "watch": "show loss, rates and pictures of runs in a browser",
    "check": "find what is wrong in the pictures and captions of a data set",
    "dataset": "look at the folders and captions of a data set, and balance them",
    "import": "write the config of another program as one of this library",
    "export-config": "write a config of this library for sd-scripts or kohya_ss",
    "sample": "draw pictures, with and without adapters",
    "info": "describe an adapter file and check that its tensors are unchanged",
    "config": "write a config that trains an adapter like an existing file",
    "size": "predict an adapter's number of parameters and file size",
    "ema": "average the checkpoints of a run (post-hoc EMA)",
    "lr-equiv": "convert a learning rate between alphas, ranks and algorithms",
    "cache": "list, check and prune cached latents and captions",
    "install": "install the nodes into ComfyUI, or the tab into AUTOMATIC1111 or Forge",
    "doctor": "check whether everything that training needs is installed",
    "demo": "train on the shipped pictures in minutes and show what was learned",
}
WITHOUT_PARSER = ("train", "doctor")
"""train makes its flags of all options, and doctor imports nothing heavy."""
EXTRA_PACKAGES = frozenset(
    {"accelerate", "bitsandbytes", "diffusers", "tomli", "tqdm", "transformers", "tyro", "yaml"}
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code; errors are printed to stderr.

    Args:
        arguments: the subcommand and its arguments; None uses those of the process.
    """
    # Nothing is downloaded: bitsandbytes and others would ask the hub where they can.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with lasting_streams() as printed:
        for stream in (sys.stdout, sys.stderr):
            # Windows' consoles default to a code page that lacks the characters of many captions.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="replace")
        code = _answer(list(sys.argv[1:] if arguments is None else arguments))
        printed.flush()
        # The reader of a pipe, such as `head`, may end when it has read enough.
        if code == 0 and printed.lost and not isinstance(printed.lost, BrokenPipeError):
            return _report(
                EnvironmentFault(
                    f"what the command tells cannot be printed ({printed.lost})",
                    where="standard output",
                    fix="the command itself is done; free some disk space, or print elsewhere",
                )
            )
        return code


def _answer(given: list[str]) -> int:
    try:
        with told_in_words():
            return _run(given)
    except LycorisExtError as error:
        return _report(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        from lycoris_ext.training.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        fix = "use smaller pictures or a smaller batch, or close other programs"
        return _report(MemoryFault(f"out of memory {reason}", fix=fix))


def _report(error: LycorisExtError) -> int:
    code = exit_code(error)
    print(f"{'' if code == INTERRUPTED else 'error: '}{error}", file=sys.stderr)
    return code


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if given[0] in ("-V", "--version"):
        from lycoris_ext import __version__

        print(__version__)
        return 0
    command, *rest = given
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        raise ConfigError(
            f"unknown command {command!r}",
            where="lycoris-ext",
            fix=f"did you mean {near[0]}?" if near else "use one of " + ", ".join(COMMANDS),
        )
    try:
        # A module cannot be called "import", and its name has no hyphens.
        name = f"{command}_" if iskeyword(command) else command.replace("-", "_")
        if command not in WITHOUT_PARSER:
            import_module(f"lycoris_ext.cli.arguments.{name}").parser().parse_args(rest)
        module = import_module(f"lycoris_ext.cli.{name}")
        code: int = module.main(rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_PACKAGES:
            raise
        from lycoris_ext.cli.extra import install_line

        raise EnvironmentFault(
            f"the package {package} is not installed",
            where=f"lycoris-ext {command}",
            fix=install_line(),
        ) from error
    return code


def _usage() -> str:
    lines = ["usage: lycoris-ext COMMAND ...", ""]
    lines += [f"  {name:<15}{text}" for name, text in COMMANDS.items()]
    lines += ["", "lycoris-ext COMMAND --help lists the options of a command", "", "exit codes:"]
    lines += [f"  {code:<15}{meaning}" for code, (_, meaning) in EXIT_CODES.items()]
    return "\n".join(lines)
