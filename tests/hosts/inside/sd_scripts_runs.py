"""Several runs of sd-scripts' scripts on a narrow model, one after the other in one process; run by
sd-scripts' Python in its folder.

Argument: a JSON file with [[script, option, ...], ...]. Prints JSON in its last line: for each run
{"error": null or "ConfigError: ...", "output": what it logged and printed}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from sd_scripts_narrow import make_narrow

from lycoris_ext.errors import LycorisExtError

ORDINARY = (
    ArithmeticError,
    AssertionError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def forget() -> None:
    """Take back what a run leaves in the process and the next one must not find."""
    AcceleratorState._reset_state(True)
    strategies: Any = import_module("library.strategy_base")
    for name in ("Tokenize", "TextEncoding", "LatentsCaching", "TextEncoderOutputsCaching"):
        getattr(strategies, f"{name}Strategy")._strategy = None


def run(script: str, options: list[str]) -> dict[str, Any]:
    sys.argv = [script, *options]
    written = io.StringIO()
    error = None
    try:
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        error = f"SystemExit: {ended.code}" if ended.code else None
    except (AttributeError, LycorisExtError, *ORDINARY) as failed:
        error = f"{type(failed).__name__}: {failed}"
    finally:
        forget()
    return {"error": error, "output": written.getvalue()}


if __name__ == "__main__":
    # As if each script had been started itself.
    sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "networks")]
    make_narrow()
    runs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n" + json.dumps([run(script, options) for script, *options in runs]))
