"""What sd-scripts' tagger sees of pictures and writes for them; run by its Python in its folder.

Argument: a folder with ``pictures`` and ``cases.json``, which holds objects with ``kind`` ("csv"
or "json"), ``options`` (of the script), ``answers`` (of the model, a list for each picture in the
order of names) and ``there`` (captions that are there, by name). Writes ``seen.npz``, the prepared
pixels of each picture, and prints a list of objects: name -> caption.

The script's own main part runs; TensorFlow, onnx and onnxruntime, which it would load a model with,
are replaced by modules that give the answers.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

sys.path.insert(0, os.getcwd())

# Before the replacements, which the libraries behind it would look into.
import library.train_util  # noqa: F401
import numpy as np
from PIL import Image

SCRIPT = str(Path("finetune") / "tag_images_by_wd14_tagger.py")
folder = Path(sys.argv[1])


def module(name: str, **members: object) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(members)


class Answers:
    """Gives the next answers to each batch."""

    def __init__(self, answers: list[list[float]]) -> None:
        self.answers = np.array(answers, dtype=np.float32)
        self.given = 0

    def to(self, pictures: np.ndarray) -> np.ndarray:
        self.given += len(pictures)
        return self.answers[self.given - len(pictures) : self.given]


def replace_libraries(answers: Answers) -> None:
    shape = SimpleNamespace(dim=[SimpleNamespace(dim_value=0)])
    given = SimpleNamespace(
        name="input", type=SimpleNamespace(tensor_type=SimpleNamespace(shape=shape))
    )
    module("onnx", load=lambda path: SimpleNamespace(graph=SimpleNamespace(input=[given])))
    module(
        "onnxruntime",
        get_available_providers=lambda: ["CPUExecutionProvider"],
        InferenceSession=lambda path, providers: SimpleNamespace(
            run=lambda names, feeds: [answers.to(feeds["input"])]
        ),
    )
    module("tensorflow")
    module("tensorflow.keras")
    module(
        "tensorflow.keras.models",
        load_model=lambda path: (
            lambda pictures, training: SimpleNamespace(numpy=lambda: answers.to(pictures))
        ),
    )


def captions(case: dict) -> dict[str, str]:
    pictures = folder / "pictures"
    for path in pictures.glob("*.txt"):
        path.unlink()
    for name, text in case["there"].items():
        (pictures / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
    replace_libraries(Answers(case["answers"]))
    kind = ["--repo_id=a/csv"] if case["kind"] == "csv" else ["--repo_id=a/json/model", "--onnx"]
    sys.argv = [SCRIPT, str(pictures), f"--model_dir={folder}", *kind, *case["options"]]
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(SCRIPT, run_name="__main__")
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(pictures.glob("*.txt"))}


found = [captions(case) for case in json.loads((folder / "cases.json").read_text("utf-8"))]
prepare = runpy.run_path(SCRIPT, run_name="tagger")["preprocess_image"]
seen = {
    path.stem: prepare(Image.open(path)) for path in sorted((folder / "pictures").glob("*.png"))
}
np.savez(folder / "seen.npz", **{name: pixels.astype(np.uint8) for name, pixels in seen.items()})
print(json.dumps(found))
