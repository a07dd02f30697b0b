"""The example workflows: what they are made of, and how ComfyUI's page stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Link:
    """An output of another node, to which an input is linked."""

    node: str
    output: str


@dataclass(frozen=True)
class Node:
    """One node of a workflow.

    Args:
        kind: its id in ComfyUI.
        at: place on the page (column, row) in units of a node.
        inputs: links by input; of the widgets those that differ from their defaults.
        size: width and height on the page.
    """

    kind: str
    at: tuple[float, float]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (340, 260)


@dataclass(frozen=True)
class Known:
    """A node of ComfyUI's own: its linked inputs, its widgets with their values, its outputs."""

    links: Mapping[str, str] = field(default_factory=dict)
    widgets: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


_KSAMPLER = {
    "seed": 1,
    "control_after_generate": "fixed",
    "steps": 20,
    "cfg": 7.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "denoise": 1.0,
}
COMFYUI = {
    "CheckpointLoaderSimple": Known(
        widgets={"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"},
        outputs={"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"},
    ),
    "CLIPTextEncode": Known({"clip": "CLIP"}, {"text": ""}, {"CONDITIONING": "CONDITIONING"}),
    "EmptyLatentImage": Known(
        widgets={"width": 512, "height": 512, "batch_size": 1}, outputs={"LATENT": "LATENT"}
    ),
    "KSampler": Known(
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
        },
        _KSAMPLER,
        {"LATENT": "LATENT"},
    ),
    "VAEDecode": Known({"samples": "LATENT", "vae": "VAE"}, {}, {"IMAGE": "IMAGE"}),
    "SaveImage": Known({"images": "IMAGE"}, {"filename_prefix": "lycoris"}),
    "PreviewImage": Known({"images": "IMAGE"}),
    "PreviewAny": Known({"source": "*"}),
}
_STEP = (390, 330)


def _checkpoint(at: tuple[float, float] = (0, 0)) -> Node:
    return Node("CheckpointLoaderSimple", at, size=(340, 100))


def _trainer(at: tuple[float, float], **inputs: Any) -> Node:
    given = {
        "model": Link("base", "MODEL"),
        "vae": Link("base", "VAE"),
        "clip": Link("base", "CLIP"),
        "network": Link("network", "network"),
        "dataset": Link("dataset", "dataset"),
        "optimizer": Link("optimizer", "optimizer"),
    }
    return Node("LycorisExtTrain", at, {**given, **inputs}, (380, 640))


def _pictures(model: Link, clip: Link, column: float, row: float, text: str) -> dict[str, Node]:
    return {
        "positive": Node("CLIPTextEncode", (column, row), {"clip": clip, "text": text}, (340, 120)),
        "negative": Node(
            "CLIPTextEncode", (column, row + 0.5), {"clip": clip, "text": "blurry"}, (340, 120)
        ),
        "empty": Node("EmptyLatentImage", (column, row + 1), size=(340, 110)),
        "sampler": Node(
            "KSampler",
            (column + 1, row),
            {
                "model": model,
                "positive": Link("positive", "CONDITIONING"),
                "negative": Link("negative", "CONDITIONING"),
                "latent_image": Link("empty", "LATENT"),
            },
            (340, 280),
        ),
        "decoded": Node(
            "VAEDecode",
            (column + 1, row + 1),
            {"samples": Link("sampler", "LATENT"), "vae": Link("base", "VAE")},
            (240, 60),
        ),
        "saved": Node(
            "SaveImage", (column + 2, row), {"images": Link("decoded", "IMAGE")}, (340, 380)
        ),
    }


WORKFLOWS: dict[str, dict[str, Node]] = {
    "train_a_style": {
        "base": _checkpoint(),
        "network": Node(
            "LycorisExtNetwork", (0, 0.5), {"network_train_unet_only": True}, (340, 240)
        ),
        "dataset": Node(
            "LycorisExtDataset",
            (1, 0),
            {"folder": "my_style", "num_repeats": 10, "train_batch_size": 2},
            (340, 330),
        ),
        "optimizer": Node("LycorisExtOptimizer", (1, 1.85), {}, (340, 160)),
        "train": _trainer(
            (2, 0), output_name="my_style", max_train_steps=1600, sample_every_n_steps=200
        ),
        "loss": Node("PreviewImage", (3.1, 0), {"images": Link("train", "loss_curve")}),
        "samples": Node("PreviewImage", (3.1, 1), {"images": Link("train", "samples")}),
        "applied": Node(
            "LycorisExtApply",
            (4.1, 0),
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "adapter": Link("train", "adapter"),
            },
            (340, 240),
        ),
        **_pictures(
            Link("applied", "model"), Link("applied", "clip"), 5.1, 0, "a harbour in my_style"
        ),
    },
    "train_a_character_with_the_text_encoder": {
        "base": _checkpoint(),
        "network": Node(
            "LycorisExtNetwork",
            (0, 0.5),
            {"algo": "locon", "network_dim": 16, "network_alpha": 8.0, "conv_dim": 8},
            (340, 240),
        ),
        "dataset": Node(
            "LycorisExtDataset",
            (1, 0),
            {
                "folder": "my_character",
                "num_repeats": 10,
                "shuffle_caption": True,
                "keep_tokens": 1,
                "caption_tag_dropout_rate": 0.1,
                "flip_aug": True,
            },
            (340, 330),
        ),
        "optimizer": Node(
            "LycorisExtOptimizer",
            (1, 1.85),
            {
                "learning_rate": 1e-4,
                "text_encoder_lr": 5e-5,
                "lr_scheduler": "cosine",
                "min_snr_gamma": 5.0,
            },
            (340, 160),
        ),
        "train": _trainer(
            (2, 0),
            output_name="my_character",
            max_train_steps=2000,
            sample_every_n_steps=250,
            sample_prompts="mychar, smiling\nmychar, sitting on a bench, park",
        ),
        "loss": Node("PreviewImage", (3.1, 0), {"images": Link("train", "loss_curve")}),
        "samples": Node("PreviewImage", (3.1, 1), {"images": Link("train", "samples")}),
        "inspect": Node("LycorisExtInspect", (4.1, 0), {"path": Link("train", "path")}, (340, 120)),
        "summary": Node(
            "PreviewAny", (4.1, 0.5), {"source": Link("inspect", "summary")}, (340, 420)
        ),
    },
    "resume_and_compare_epochs": {
        "base": _checkpoint(),
        "network": Node(
            "LycorisExtNetwork", (0, 0.5), {"network_train_unet_only": True}, (340, 240)
        ),
        "dataset": Node(
            "LycorisExtDataset", (1, 0), {"folder": "my_style", "num_repeats": 10}, (340, 330)
        ),
        "optimizer": Node("LycorisExtOptimizer", (1, 1.85), {}, (340, 160)),
        "train": _trainer(
            (2, 0),
            output_name="my_epochs",
            max_train_steps=2000,
            save_every_n_epochs=1,
            when_it_exists="continue or new",
        ),
        "loss": Node("PreviewImage", (3.1, 0), {"images": Link("train", "loss_curve")}),
        "grid": Node(
            "LycorisExtCompareGrid",
            (3.1, 1),
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "vae": Link("base", "VAE"),
                "adapter": Link("train", "adapter"),
                "files": "my_epochs-step-*",
                "prompts": "a harbour in my_style\na cat in my_style",
                "seeds": "1, 2",
                "title": "Every epoch",
            },
            (360, 620),
        ),
        "saved": Node("SaveImage", (4.2, 0), {"images": Link("grid", "grid")}, (600, 700)),
    },
    "load_and_compare_strengths": {
        "base": _checkpoint(),
        "adapter": Node("LycorisExtLoad", (0, 0.5), {"file": "my_style.safetensors"}, (340, 100)),
        "inspect": Node("LycorisExtInspect", (0, 1), {"path": Link("adapter", "path")}, (340, 120)),
        "grid": Node(
            "LycorisExtCompareGrid",
            (1, 0),
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "vae": Link("base", "VAE"),
                "adapter": Link("adapter", "adapter"),
                "prompts": "a harbour in my_style\na cat in my_style",
                "strengths": "0.4, 0.7, 1.0",
                "title": "Strengths",
            },
            (360, 620),
        ),
        "saved": Node("SaveImage", (2.1, 0), {"images": Link("grid", "grid")}, (600, 620)),
        "applied": Node(
            "LycorisExtApply",
            (0, 2.1),
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "adapter": Link("adapter", "adapter"),
                "block_weights": "IN=0.5, M00=1, OUT=1",
            },
            (340, 240),
        ),
        "report": Node("PreviewAny", (1, 2.1), {"source": Link("applied", "report")}, (340, 200)),
    },
}


def as_api(nodes: Mapping[str, Node], ours: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a workflow in the form in which POST /prompt takes it."""
    numbers = {name: str(number) for number, name in enumerate(nodes, 1)}
    api = {}
    for name, node in nodes.items():
        known = _known(node.kind, ours)
        inputs = {key: v for key, v in known.widgets.items() if key != "control_after_generate"}
        for key, value in node.inputs.items():
            if isinstance(value, Link):
                outputs = _known(nodes[value.node].kind, ours).outputs
                value = [numbers[value.node], list(outputs).index(value.output)]
            inputs[key] = value
        api[numbers[name]] = {"class_type": node.kind, "inputs": inputs}
    return api


def as_graph(nodes: Mapping[str, Node], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workflow in the form in which ComfyUI's page stores it."""
    numbers = {name: number for number, name in enumerate(nodes, 1)}
    links: list[list[Any]] = []
    written = [_node(number, node, ours) for number, node in enumerate(nodes.values(), 1)]
    for name, node in nodes.items():
        target = written[numbers[name] - 1]
        for slot, given in enumerate(target["inputs"]):
            link = node.inputs.get(given["name"])
            if link is None:
                continue
            source = written[numbers[link.node] - 1]
            output = next(n for n, o in enumerate(source["outputs"]) if o["name"] == link.output)
            kind = source["outputs"][output]["type"]
            links.append([len(links) + 1, numbers[link.node], output, numbers[name], slot, kind])
            given["link"] = len(links)
            source["outputs"][output]["links"].append(len(links))
    return {
        "last_node_id": len(written),
        "last_link_id": len(links),
        "nodes": written,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _node(number: int, node: Node, ours: Mapping[str, Any]) -> dict[str, Any]:
    known = _known(node.kind, ours)
    unknown = set(node.inputs) - set(known.links) - set(known.widgets)
    if unknown:
        raise ValueError(f"{node.kind} has no input {sorted(unknown)}")
    return {
        "id": number,
        "type": node.kind,
        "pos": [round(place * step) for place, step in zip(node.at, _STEP, strict=True)],
        "size": list(node.size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [{"name": name, "type": t, "link": None} for name, t in known.links.items()],
        "outputs": [{"name": name, "type": t, "links": []} for name, t in known.outputs.items()],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": [node.inputs.get(name, value) for name, value in known.widgets.items()],
    }


def _known(kind: str, ours: Mapping[str, Any]) -> Known:
    if kind in COMFYUI:
        return COMFYUI[kind]
    node = ours[kind]
    given = node.INPUT_TYPES()
    links, widgets = {}, {}
    for name, (of, settings) in {**given["required"], **given["optional"]}.items():
        if isinstance(of, list) or (of in _WIDGETS and not settings.get("forceInput")):
            choice: Sequence[str] = of if isinstance(of, list) else ()
            widgets[name] = settings.get("default", choice[0] if choice else "")
        else:
            links[name] = of
    return Known(links, widgets, dict(zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)))


_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
