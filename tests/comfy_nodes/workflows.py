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
        column: on the page, from the left; the nodes of a column stand one below the other.
        inputs: links by input; of the widgets those that differ from their defaults.
        height: on the page, where it is not that of the slots and widgets: nodes that show a text
            or a picture when they ran grow over the node below them otherwise.
        title: on the page; empty: the name of its kind.
    """

    kind: str
    column: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    height: int = 0
    title: str = ""


@dataclass(frozen=True)
class Known:
    """A node of ComfyUI's own: its linked inputs, its widgets with their values, its outputs,
    and which of the widgets are texts of several lines."""

    links: Mapping[str, str] = field(default_factory=dict)
    widgets: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()


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
    "CLIPTextEncode": Known(
        {"clip": "CLIP"}, {"text": ""}, {"CONDITIONING": "CONDITIONING"}, frozenset({"text"})
    ),
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
_WIDTH, _GAP, _TITLE = 370, 50, 36
_SLOT, _WIDGET, _TEXT = 20, 24, 100
_LOSS, _SAMPLES = "Preview Image: loss", "Preview Image: samples"
#: With the report below the widgets, of a few lines.
_APPLIED, _LOADED = 230, 300


def _checkpoint(column: int = 0) -> Node:
    return Node("CheckpointLoaderSimple", column)


def _trainer(column: int, **inputs: Any) -> Node:
    given = {
        "model": Link("base", "MODEL"),
        "vae": Link("base", "VAE"),
        "clip": Link("base", "CLIP"),
        "network": Link("network", "network"),
        "dataset": Link("dataset", "dataset"),
        "optimizer": Link("optimizer", "optimizer"),
    }
    # The loss curve and the pictures of the training are shown on the node.
    return Node("LycorisExtTrainLora", column, {**given, **inputs}, 620)


def _pictures(model: Link, clip: Link, column: int, text: str) -> dict[str, Node]:
    return {
        "positive": Node("CLIPTextEncode", column, {"clip": clip, "text": text}),
        "negative": Node("CLIPTextEncode", column, {"clip": clip, "text": "blurry"}),
        "empty": Node("EmptyLatentImage", column),
        "sampler": Node(
            "KSampler",
            column + 1,
            {
                "model": model,
                "positive": Link("positive", "CONDITIONING"),
                "negative": Link("negative", "CONDITIONING"),
                "latent_image": Link("empty", "LATENT"),
            },
        ),
        "decoded": Node(
            "VAEDecode",
            column + 1,
            {"samples": Link("sampler", "LATENT"), "vae": Link("base", "VAE")},
        ),
        "saved": Node("SaveImage", column + 1, {"images": Link("decoded", "IMAGE")}, 340),
    }


def _shown(column: int) -> dict[str, Node]:
    return {
        "loss": Node("PreviewImage", column, {"images": Link("train", "loss_curve")}, 280, _LOSS),
        "samples": Node(
            "PreviewImage", column, {"images": Link("train", "samples")}, 280, _SAMPLES
        ),
    }


def _grid(column: int, **inputs: Any) -> Node:
    given = {
        "model": Link("base", "MODEL"),
        "clip": Link("base", "CLIP"),
        "vae": Link("base", "VAE"),
        "prompts": "a harbour in my_style\na cat in my_style",
    }
    return Node("LycorisExtCompareLoras", column, {**given, **inputs})


WORKFLOWS: dict[str, dict[str, Node]] = {
    "train_a_style": {
        "base": _checkpoint(),
        "network": Node("LycorisExtTrainNetwork", 0),
        "optimizer": Node("LycorisExtTrainOptimizer", 0),
        "dataset": Node(
            "LycorisExtDatasetFolder",
            1,
            {"folder": "my_style", "num_repeats": 10, "train_batch_size": 2},
        ),
        "previews": Node("LycorisExtTrainPreviews", 1, {"sample_every_n_steps": 200}),
        "train": _trainer(
            2,
            advanced=Link("previews", "advanced"),
            output_name="my_style",
            max_train_steps=1600,
        ),
        **_shown(3),
        "applied": Node(
            "LycorisExtApply",
            4,
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "adapter": Link("train", "adapter"),
            },
            _APPLIED,
        ),
        **_pictures(Link("applied", "model"), Link("applied", "clip"), 4, "a harbour in my_style"),
    },
    "train_a_character": {
        "base": _checkpoint(),
        "network": Node(
            "LycorisExtTrainNetwork",
            0,
            {
                "algo": "locon",
                "network_dim": 16,
                "network_alpha": 8.0,
                "conv_dim": 8,
                "train": "model and text encoder",
            },
        ),
        "timesteps": Node("LycorisExtOptimizerTimesteps", 0, {"min_snr_gamma": 5.0}),
        "tags": Node(
            "LycorisExtDatasetTags", 0, {"keep_tokens": 1, "caption_tag_dropout_rate": 0.1}
        ),
        "optimizer": Node(
            "LycorisExtTrainOptimizer",
            1,
            {
                "advanced": Link("timesteps", "advanced"),
                "learning_rate": 1e-4,
                "text_encoder_lr": 5e-5,
                "lr_scheduler": "cosine",
            },
        ),
        "dataset": Node(
            "LycorisExtDatasetFolder",
            1,
            {
                "advanced": Link("tags", "advanced"),
                "folder": "my_character",
                "num_repeats": 10,
                "shuffle_caption": True,
                "flip_aug": True,
            },
        ),
        "previews": Node(
            "LycorisExtTrainPreviews",
            1,
            {
                "sample_every_n_epochs": 1,
                "sample_prompts": "mychar, smiling\nmychar, sitting on a bench, park",
            },
        ),
        "train": _trainer(
            2,
            advanced=Link("previews", "advanced"),
            output_name="my_character",
            max_train_epochs=10,
        ),
        **_shown(3),
        "inspect": Node("LycorisExtInspect", 4, {"path": Link("train", "path")}, 140),
        "summary": Node("PreviewAny", 4, {"source": Link("inspect", "summary")}, 420),
    },
    "compare_epochs": {
        "base": _checkpoint(),
        "network": Node("LycorisExtTrainNetwork", 0),
        "optimizer": Node("LycorisExtTrainOptimizer", 0),
        "dataset": Node("LycorisExtDatasetFolder", 1, {"folder": "my_style", "num_repeats": 10}),
        "sampling": Node("LycorisExtSampling", 1),
        "train": _trainer(2, output_name="my_epochs", max_train_epochs=5, save_every_n_epochs=1),
        "loss": Node("PreviewImage", 3, {"images": Link("train", "loss_curve")}, 220, _LOSS),
        "grid": _grid(
            3,
            checkpoints=Link("train", "checkpoints"),
            sampling=Link("sampling", "sampling"),
            seeds="1, 2",
            title="Every epoch",
        ),
        "saved": Node("SaveImage", 4, {"images": Link("grid", "grid")}, 700),
    },
    "compare_strengths": {
        "base": _checkpoint(),
        "loaded": Node(
            "LycorisExtLoadLora",
            0,
            {
                "model": Link("base", "MODEL"),
                "clip": Link("base", "CLIP"),
                "lora_name": "my_style.safetensors",
                "strength_model": 0.8,
                "block_weights": "IN=0.5, M00=1, OUT=1",
            },
            _LOADED,
        ),
        "words": Node("PreviewAny", 0, {"source": Link("loaded", "trigger_words")}, 120),
        "report": Node("PreviewAny", 0, {"source": Link("loaded", "report")}, 160),
        "grid": _grid(
            1,
            adapter=Link("loaded", "adapter"),
            strengths="0.4, 0.7, 1.0",
            title="Strengths",
        ),
        "compared": Node("SaveImage", 2, {"images": Link("grid", "grid")}, 620),
        **_pictures(Link("loaded", "model"), Link("loaded", "clip"), 3, "a harbour in my_style"),
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
    _place(list(nodes.values()), written)
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
        "pos": [0, 0],
        "size": [_WIDTH, node.height or _height(known)],
        "flags": {},
        **({"title": node.title} if node.title else {}),
        "order": number - 1,
        "mode": 0,
        "inputs": [{"name": name, "type": t, "link": None} for name, t in known.links.items()],
        "outputs": [{"name": name, "type": t, "links": []} for name, t in known.outputs.items()],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": [node.inputs.get(name, value) for name, value in known.widgets.items()],
    }


def _height(known: Known) -> int:
    """Return about the height that ComfyUI's page gives a node."""
    texts = sum(name in known.texts for name in known.widgets)
    slots = max(len(known.links), len(known.outputs))
    return _SLOT * slots + _WIDGET * (len(known.widgets) - texts) + _TEXT * texts + 10


def _place(nodes: Sequence[Node], written: Sequence[dict[str, Any]]) -> None:
    """Put nodes into their columns, one below the other."""
    bottoms: dict[int, int] = {}
    for node, entry in zip(nodes, written, strict=True):
        top = bottoms.get(node.column, 0)
        entry["pos"] = [node.column * (_WIDTH + _GAP), top + _TITLE]
        bottoms[node.column] = top + _TITLE + entry["size"][1] + _GAP


def _known(kind: str, ours: Mapping[str, Any]) -> Known:
    if kind in COMFYUI:
        return COMFYUI[kind]
    node = ours[kind]
    given = node.INPUT_TYPES()
    links, widgets, texts = {}, {}, set()
    for name, (of, settings) in {**given["required"], **given["optional"]}.items():
        if isinstance(of, list) or (of in _WIDGETS and not settings.get("forceInput")):
            choice: Sequence[str] = of if isinstance(of, list) else ()
            widgets[name] = settings.get("default", choice[0] if choice else "")
            texts |= {name} if settings.get("multiline") else set()
        else:
            links[name] = of
    outputs = dict(zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True))
    return Known(links, widgets, outputs, frozenset(texts))


_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
