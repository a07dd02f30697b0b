"""`lycoris-ext cache ls|verify|prune [FOLDER]`: look after cached latents, captions and checks."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from lycoris_ext.cli.arguments.cache import parser
from lycoris_ext.cli.exit_codes import DONE, exit_code
from lycoris_ext.data.cache_folder import Entry, beyond, delete, entries
from lycoris_ext.data.kept_checks import user_caches
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.os_errors import reason
from lycoris_ext.sampling.progress import bar_options
from lycoris_ext.words import count, duration, file_size, table

_DAY = 86_400
_DAMAGED = exit_code(FormatError("a file of the cache is damaged"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an action and return the exit code."""
    options = parser().parse_args(arguments)
    options.folder = options.folder or user_caches()
    return _ACTIONS[options.action](options, entries(options.folder))


def _list(options: argparse.Namespace, found: Sequence[Entry]) -> int:
    kinds: dict[str, list[Entry]] = {}
    for entry in found:
        kinds.setdefault(entry.kind, []).append(entry)
    now = time.time()
    if options.json:
        print(json.dumps({kind: _counted(part) for kind, part in sorted(kinds.items())}))
        return DONE
    rows = [["kind", "files", "size", "longest unused", "last used"]]
    for kind, part in sorted(kinds.items()):
        ages = [duration(max(0, now - one.used)) for one in (part[0], part[-1])]
        rows.append([kind, f"{len(part):,}", file_size(sum(one.size for one in part)), *ages])
    print("\n".join(table(rows)) if found else f"{options.folder}: no cached files")
    return DONE


def _verify(options: argparse.Namespace, found: Sequence[Entry]) -> int:
    damaged: list[Entry] = []
    unread: list[str] = []
    for entry in tqdm(found, desc="reading", unit=" files", leave=False, **bar_options()):
        try:
            damaged += [] if entry.is_whole() else [entry]
        except FileNotFoundError:
            continue  # another process deleted it just now
        except OSError as error:
            unread.append(f"{entry.path}: cannot be read ({reason(error)})")
    deleted = delete(damaged) if options.delete else []
    if options.json:
        print(json.dumps({**_counted(found), "damaged": [str(one.path) for one in damaged]}))
    else:
        for line in (*(f"{one.path}: is damaged" for one in damaged), *unread):
            print(line)
        whole = count(len(found) - len(damaged) - len(unread), "file is", "files are")
        print(f"{whole} whole, {len(damaged):,} damaged, {len(deleted):,} deleted")
        if damaged and not options.delete:
            print("a run computes damaged ones anew; --delete deletes them now")
    return _DAMAGED if len(damaged) > len(deleted) or unread else DONE


def _prune(options: argparse.Namespace, found: Sequence[Entry]) -> int:
    if options.max_gb is None and options.unused_days is None:
        raise ConfigError(
            "nothing says what is to be deleted",
            where="lycoris-ext cache prune",
            fix="give --max-gb, --unused-days or both",
        )
    oldest = 0.0 if options.unused_days is None else time.time() - options.unused_days * _DAY
    doomed = [entry for entry in found if entry.used < oldest]
    if options.max_gb is not None:
        rest = [entry for entry in found if entry.used >= oldest]
        doomed += beyond(rest, options.max_gb * 1e9)
    deleted = doomed if options.dry_run else delete(doomed)
    if options.json:
        print(json.dumps({"deleted": _counted(deleted), "dry_run": options.dry_run}))
        return DONE
    freed = file_size(sum(one.size for one in deleted))
    verb = "would be deleted" if options.dry_run else "deleted"
    print(f"{count(len(deleted), 'file')} ({freed}) {verb}, {len(found) - len(deleted):,} stay")
    return DONE


def _counted(found: Sequence[Entry]) -> dict[str, int]:
    return {"files": len(found), "bytes": sum(entry.size for entry in found)}


_ACTIONS: dict[str, Callable[[argparse.Namespace, Sequence[Entry]], int]] = {
    "ls": _list,
    "verify": _verify,
    "prune": _prune,
}
