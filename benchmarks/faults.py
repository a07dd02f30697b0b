"""Run the trials of tests/faults in full numbers, and write docs/reliability.md from their results.

    python benchmarks/faults.py

Each kind's result is written when the kind is done, and a kind that has one for the present code is
skipped: after a stop the same command goes on. ``--only state`` runs the kinds with a word in their
names, ``--number 5`` fewer of each, ``--again`` those that were run already.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # the tests' trials, and the tree beside them

import reliability  # noqa: E402
from measuring import RESULTS, Progress, environment, write_json  # noqa: E402
from pages import write  # noqa: E402

from tests.faults.trials import Kind, all_kinds  # noqa: E402

RESULT = RESULTS / "faults_cpu.json"
_CODE = ("lycoris_ext/**/*.py", "tests/faults/*.py")
_LONGEST = 500
"""Characters that are kept of what is said about a bad trial."""


@dataclass(frozen=True)
class Row:
    """What came of the trials of one kind.

    Args:
        name, subject: of the kind, and of the module that has it.
        tried: how many trials ran; 0 if it cannot run here.
        bad: trial -> what went wrong, of those where something did.
        before: tried and bad in version 0.1.0, or None.
        needs: why it cannot run here, or "".
        seed: with which the same trials run again.
        seconds: duration.
        code: hash of the code that was tried.
    """

    name: str
    subject: str
    tried: int
    bad: dict[str, str]
    before: tuple[int, int] | None
    needs: str
    seed: int
    seconds: float
    code: str


def main() -> int:
    torch.set_num_threads(1)  # a forked training has none of the threads that this process started
    options = _options()
    kinds = [kind for kind in all_kinds() if options.only in kind.name]
    known = {kind.name for kind in all_kinds()}
    code = code_hash()
    rows = {name: row for name, row in earlier(options.json).items() if name in known}
    if not options.again:
        kinds = [k for k in kinds if k.name not in rows or rows[k.name]["code"] != code]
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"{len(kinds)} kinds to run, seed {seed}")
    numbers = {kind.name: options.number or kind.full for kind in kinds if not kind.needs}
    bar = Progress("trials", numbers)
    for kind in kinds:
        row = tried(kind, numbers.get(kind.name, 0), seed, code, bar)
        rows[kind.name] = asdict(row)
        save(options.json, rows)
        told = f"{len(row.bad)} of {row.tried} bad" if not kind.needs else kind.needs
        bar.bar.write(f"{kind.name}: {told} ({row.seconds:.0f} s)")
        for name, bad in row.bad.items():
            bar.bar.write(f"    {name}: {bad}")
    bar.close()
    if options.json == RESULT:
        write(reliability.pages())
    return 1 if any(row["bad"] for row in rows.values()) else 0


def tried(kind: Kind, number: int, seed: int, code: str, bar: Progress) -> Row:
    """Run the trials of a kind."""
    began, bad, count = time.monotonic(), {}, 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for trial in kind.run(number, seed, Path(folder)) if number else ():
            count += 1
            if trial.bad:
                bad[trial.name] = trial.bad[-_LONGEST:]
            if count <= number:
                bar.did(kind.name)
    bar.drop(kind.name)
    seconds = round(time.monotonic() - began, 1)
    subject = reliability.subject_of(sys.modules[kind.run.__module__])
    return Row(kind.name, subject, count, bad, kind.before, kind.needs, seed, seconds, code)


def code_hash() -> str:
    """Return a hash of the code that the trials try, and of the trials."""
    digest = hashlib.sha256()
    for path in files_of_code():
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def files_of_code() -> Iterator[Path]:
    for pattern in _CODE:
        yield from sorted(ROOT.glob(pattern))


def earlier(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier run, by the names of their kinds."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {row["name"]: row for row in rows}


def save(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the rows in the order of the kinds."""
    kept = [rows[kind.name] for kind in all_kinds() if kind.name in rows]
    write_json(path, {**environment("torch", "safetensors", "pillow"), "rows": kept})


def _options() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="run the kinds with this in their names")
    parser.add_argument("--number", type=int, help="trials of each kind (default: its own number)")
    parser.add_argument("--seed", type=int, help="of the trials (default: another one each time)")
    parser.add_argument("--again", action="store_true", help="run kinds that have a result, too")
    parser.add_argument("--json", type=Path, default=RESULT, help="the file of results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
