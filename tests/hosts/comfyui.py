"""A real ComfyUI on a CPU: started on 127.0.0.1, asked over HTTP, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from lycoris_ext.hosts.comfyui import install_comfyui
from tests.hosts.base_model import base_model
from tests.hosts.checkouts import Checkout, free_port, host_environment

#: ComfyUI's answer to a workflow in API format: node id -> {"class_type", "inputs"}.
Workflow = dict[str, dict[str, Any]]
CHECKPOINT = "random.safetensors"
PACK = "lycoris-ext"


@dataclass
class Finished:
    """What became of a queued workflow.

    Attributes:
        status: "success", or "error" (also after Cancel).
        outputs: node id -> what it showed.
        messages: (kind, data) in order.
        seconds: from queueing to the end.
    """

    status: str
    outputs: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]]
    seconds: float

    @property
    def executed(self) -> set[str]:
        """The ids of nodes that did not come from ComfyUI's cache."""
        cached: set[str] = set()
        for kind, data in self.messages:
            if kind == "execution_cached":
                cached |= set(data["nodes"])
        return set(self.outputs) - cached

    @property
    def error(self) -> dict[str, Any]:
        """The error of the node that failed: node_id, node_type, exception_message."""
        return next(data for kind, data in self.messages if kind == "execution_error")

    @property
    def was_interrupted(self) -> bool:
        return any(kind == "execution_interrupted" for kind, _ in self.messages)


@dataclass
class Server:
    """ComfyUI while it runs, in a folder of its own.

    Args:
        checkout: of ComfyUI.
        folder: its models, input and output; made if it is not there.
        link: how our nodes are installed.
        options: of ComfyUI's command line.
    """

    checkout: Checkout
    folder: Path
    link: bool = True
    options: tuple[str, ...] = ()
    port: int = 0
    log: list[str] = field(default_factory=list)

    def __enter__(self) -> Server:
        for name in ("custom_nodes", "models/loras", "models/checkpoints", "input", "user/default"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        settings = self.folder / "user" / "default" / "comfy.settings.json"
        settings.write_text('{"Comfy.TutorialCompleted": true}', encoding="utf-8")
        install_comfyui(self.folder, self.link)
        self.port = free_port()
        command = [
            str(self.checkout.python),
            "main.py",
            "--cpu",
            "--listen=127.0.0.1",
            f"--port={self.port}",
            f"--base-directory={self.folder}",
            f"--database-url=sqlite:///{self.folder / 'comfyui.db'}",
            "--disable-auto-launch",
            *self.options,
        ]
        self._process = subprocess.Popen(
            command,
            cwd=self.checkout.folder,
            env=host_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_until_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.log.extend(self._process.stdout)

    def _wait_until_up(self, limit: float = 180) -> None:
        started = time.monotonic()
        while time.monotonic() - started < limit:
            assert self._process.poll() is None, "".join(self.log[-60:])
            try:
                self.get("/queue")
            except OSError:
                time.sleep(0.5)
            else:
                return
        raise AssertionError(f"ComfyUI did not start in {limit} s\n{''.join(self.log[-60:])}")

    def get(self, path: str) -> Any:
        """Return what ComfyUI answers: JSON decoded, anything else as bytes."""
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        return self._ask(request)

    @staticmethod
    def _ask(request: urllib.request.Request) -> Any:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
        return json.loads(content) if is_json and content else content

    def queue(self, workflow: Workflow) -> str:
        """Queue a workflow, with the defaults of widgets that it leaves out; returns its id."""
        content = {"prompt": self.filled(workflow), "client_id": uuid.uuid4().hex}
        answer: str = self.post("/prompt", content)["prompt_id"]
        return answer

    @cached_property
    def nodes(self) -> dict[str, Any]:
        """What ComfyUI tells of all nodes: id -> input, output, display_name and others."""
        told: dict[str, Any] = self.get("/object_info")
        return told

    def filled(self, workflow: Workflow) -> Workflow:
        """Return a workflow with the defaults of our nodes' widgets, which ComfyUI's page sends."""
        done = {}
        for number, given in workflow.items():
            kind, values = given["class_type"], given["inputs"]
            inputs = self.nodes[kind]["input"]["required"] if kind.startswith("Lycoris") else {}
            usual = {key: s["default"] for key, (_, s) in inputs.items() if "default" in s}
            done[number] = node(kind, **{**usual, **values})
        return done

    def refused(self, workflow: Workflow) -> dict[str, str]:
        """Queue a workflow that ComfyUI must refuse; return node id -> error."""
        try:
            self.queue(workflow)
        except urllib.error.HTTPError as error:
            answer = json.loads(error.read())
            return {
                node: " ".join(f"{e['message']} {e['details']}" for e in told["errors"])
                for node, told in answer["node_errors"].items()
            }
        raise AssertionError("ComfyUI queued it")

    def wait(self, prompt_id: str, limit: float = 1800) -> Finished:
        """Wait until a queued workflow has ended and return what became of it."""
        started = time.monotonic()
        while time.monotonic() - started < limit:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                told = history[prompt_id]
                messages = [(kind, data) for kind, data in told["status"]["messages"]]
                times = [data["timestamp"] for _, data in messages]
                return Finished(
                    told["status"]["status_str"],
                    told["outputs"],
                    messages,
                    (times[-1] - times[0]) / 1000,
                )
            assert self._process.poll() is None, "".join(self.log[-60:])
            time.sleep(0.1)
        raise AssertionError(f"not done in {limit} s\n{''.join(self.log[-60:])}")

    def run(self, workflow: Workflow, limit: float = 1800) -> Finished:
        """Queue a workflow, wait for its end and return what became of it."""
        return self.wait(self.queue(workflow), limit)

    def interrupt(self) -> None:
        """Press Cancel."""
        self.post("/interrupt", {})

    def logged(self, pattern: str) -> bool:
        """Tell whether a line of ComfyUI's log matches a pattern."""
        return any(re.search(pattern, line) for line in list(self.log))

    @property
    def loras(self) -> Path:
        return self.folder / "models" / "loras"

    def add_checkpoint(self, family: str = "sd1") -> None:
        """Put a model of real size and random weights where ComfyUI finds it."""
        place = self.folder / "models" / "checkpoints" / CHECKPOINT
        if not place.exists():
            try:
                os.link(base_model(family), place)
            except OSError:  # another disk
                shutil.copyfile(base_model(family), place)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """Return a node of a workflow in API format; a link is ["node id", output]."""
    return {"class_type": kind, "inputs": inputs}


def training(
    folder: str,
    name: str = "trained",
    steps: int = 2,
    *,
    network: Mapping[str, Any] = {},
    previews: Mapping[str, Any] = {},
    saving: Mapping[str, Any] = {},
    **train: Any,
) -> Workflow:
    """Return a workflow that trains LoHa 8/4 at 64 px on a CPU: nodes 1 to 5 are checkpoint,
    network, dataset, optimizer and train; 10 to 12 the sampling, previews and saving of train.

    Args:
        folder: of pictures, below ComfyUI's input folder.
        name: of the adapter's file.
        steps: length of the run.
        network, previews, saving, train: inputs of these nodes that are not as usual.
    """
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "2": node("LycorisExtTrainNetwork", **{"algo": "loha", "network_alpha": 4.0, **network}),
        "3": node("LycorisExtDatasetFolder", folder=folder, resolution=64, enable_bucket=False),
        "4": node("LycorisExtTrainOptimizer", optimizer_type="AdamW", learning_rate=0.01),
        "10": node("LycorisExtSampling", steps=1),
        "11": node("LycorisExtTrainPreviews", sampling=["10", 0], **previews),
        "12": node("LycorisExtTrainSaving", advanced=["11", 0], **saving),
        "5": node(
            "LycorisExtTrainLora",
            model=["1", 0],
            clip=["1", 1],
            vae=["1", 2],
            network=["2", 0],
            dataset=["3", 0],
            optimizer=["4", 0],
            advanced=["12", 0],
            output_name=name,
            max_train_steps=steps,
            seed=1,
            **train,
        ),
    }


def sampling(model: Any, clip: Any, prefix: str, start: int = 20) -> Workflow:
    """Return nodes that draw a picture of 64 px in two steps and save it as
    output/PREFIX_00001_.png."""
    ids = [str(start + number) for number in range(6)]
    return {
        ids[0]: node("CLIPTextEncode", clip=clip, text="a cat"),
        ids[1]: node("CLIPTextEncode", clip=clip, text=""),
        ids[2]: node("EmptyLatentImage", width=64, height=64, batch_size=1),
        ids[3]: node(
            "KSampler",
            model=model,
            positive=[ids[0], 0],
            negative=[ids[1], 0],
            latent_image=[ids[2], 0],
            seed=1,
            steps=2,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        ids[4]: node("VAEDecode", samples=[ids[3], 0], vae=["1", 2]),
        ids[5]: node("SaveImage", images=[ids[4], 0], filename_prefix=prefix),
    }
