"""Base models of real size for hosts, made once: their weights are random.

They lie in LYCORIS_EXT_HOSTS_CACHE, or in the system's folder for temporary files.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lycoris_ext.models.tokenizer import write_clip_tokenizer
from tests.hosts.checkouts import ROOT

WRITE = """
import sys
from pathlib import Path
from tests.single_files import write_random_model
write_random_model(Path(sys.argv[1]), sys.argv[2])
"""


def cache_folder() -> Path:
    """Return the folder in which the models are kept: about 2 GB for sd1, 7 GB for sdxl."""
    named = os.environ.get("LYCORIS_EXT_HOSTS_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "lycoris-ext-hosts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def base_model(family: str) -> Path:
    """One .safetensors file under the names of the original repository, made if it is not there.

    Args:
        family: a key of `lycoris_ext.models.part_configs.LOADED`.
    """
    source = (ROOT / "tests" / "single_files.py").read_bytes()
    digest = hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()[:8]
    path = cache_folder() / f"{family}-{digest}.safetensors"
    if not path.is_file():
        unfinished = path.with_suffix(".tmp")
        # A process of its own: its gigabytes must not count as the tests' (see `run_script`).
        subprocess.run([sys.executable, "-c", WRITE, str(unfinished), family], cwd=ROOT, check=True)
        os.replace(unfinished, path)
    return path


def clip_tokenizers(*model_ids: str) -> Path:
    """Return a folder for --tokenizer_cache_dir: CLIP's tokenizer under each model's id."""
    folder = cache_folder() / "tokenizers"
    for model_id in model_ids:
        place = folder / model_id.replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        write_clip_tokenizer(place)
    return folder
