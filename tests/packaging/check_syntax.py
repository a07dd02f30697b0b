"""Every Python file of the repository parses as Python 3.10, the oldest version supported.

Hosts on Windows run 3.10; the tests run on whatever is at hand. Run by `make check`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 10)


def main() -> int:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    files = [ROOT / name for name in names.decode("utf-8").split("\0") if name]
    files = [
        file for file in files if file.is_file()
    ]  # a deleted file stays listed until committed
    failures = 0
    for file in files:
        try:
            ast.parse(file.read_text("utf-8"), str(file), feature_version=OLDEST)
        except SyntaxError as error:
            failures += 1
            print(f"{file.relative_to(ROOT)}:{error.lineno}: {error.msg}", file=sys.stderr)
    print(f"{len(files)} files parse as Python {OLDEST[0]}.{OLDEST[1]}, {failures} do not")
    return 1 if failures or not files else 0


if __name__ == "__main__":
    sys.exit(main())
