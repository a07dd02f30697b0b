"""`python -m lycoris_ext` is the same as `lycoris-ext`."""

import sys

from lycoris_ext.cli import main

if __name__ == "__main__":
    # Loader workers are spawned: they import this file again and must not run it.
    sys.exit(main())
