"""`lycoris-ext watch RUN...`: show runs in a browser as they go on, or write them as a page."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence

from lycoris_ext.cli.arguments.watch import parser
from lycoris_ext.pages.watch.content import Watched, find_runs
from lycoris_ext.pages.watch.page import write_page
from lycoris_ext.pages.watch.server import WatchServer
from lycoris_ext.printable import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C, or write it; return the exit code."""
    options = parser().parse_args(arguments)
    runs = [Watched(paths) for paths in find_runs(options.runs)]
    if options.html is not None:
        write_page(options.html, runs)
        print(printable(f"written: {options.html}"))
        return 0
    with WatchServer(runs) as server:
        print(f"{server.address} (Ctrl-C ends it)", flush=True)
        if not options.no_browser and sys.stdout.isatty():
            webbrowser.open_new_tab(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended", file=sys.stderr)
    return 0
