"""The command line: one file a subcommand, errors in words, stable exit codes.

Exit codes: 0 done, 2 an option is wrong, 3 pictures or files are, 4 something is not installed,
5 out of memory, 6 the loss diverged, 130 stopped by Ctrl-C with everything saved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from lycoris_ext.errors import ConfigError, EnvironmentFault, LycorisExtError

COMMANDS = {
    "init": "write a commented config for a folder of pictures",
    "train": "train an adapter, or go on with a run that was stopped",
    "sample": "draw pictures, with and without adapters",
    "info": "describe an adapter file and check that it is whole",
    "config": "write the config that would train an adapter file again",
    "size": "predict parameters and bytes of an adapter",
    "demo": "train on the shipped pictures and show what was learned",
}
EXTRA_PACKAGES = frozenset(
    {"accelerate", "bitsandbytes", "diffusers", "tomli", "tqdm", "transformers", "tyro"}
)
OUT_OF_MEMORY = 5
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: without the program's name; unset: those of the process.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # Windows' consoles default to a code page in which most captions cannot be printed.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except LycorisExtError as error:
        prefix = "" if error.exit_code == INTERRUPTED else "error: "
        print(f"{prefix}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        fix = "lower resolution or train_batch_size, or set gradient_checkpointing = true"
        print(f"error: out of memory {reason}\n  -> {fix}", file=sys.stderr)
        return OUT_OF_MEMORY


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
        module = import_module(f"lycoris_ext.cli.{command}")
        code: int = module.main(rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_PACKAGES:
            raise
        raise EnvironmentFault(
            f"the package {package} is not installed",
            where=f"lycoris-ext {command}",
            fix='pip install "lycoris-ext[train]"',
        ) from error
    return code


def _usage() -> str:
    lines = ["usage: lycoris-ext COMMAND ...", ""]
    lines += [f"  {name:<8}{text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "lycoris-ext COMMAND --help tells a command's options"])


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's own class on a GPU; on a CPU it raises a RuntimeError that only its text tells apart.
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in text
        or "can't allocate memory" in text
    )
