"""Our nodes inside a real ComfyUI, with a model of full size and random weights on the CPU."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_nodes import NODE_CLASS_MAPPINGS
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.models import build_meta
from lycoris_ext.network import load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.state import load_state
from tests.comfy_nodes.documents import EXAMPLES
from tests.hosts.comfyui import PACK, Server, node, sampling, training

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"
PICTURES = EXAMPLES.parent / "docs" / "images"
SHORT = {"preset": "attn-only", "network_dim": 4}


@pytest.fixture(scope="module")
def trained(server: Server) -> dict[str, Any]:
    """Draw a picture, train with sample pictures, and draw again, in three prompts."""
    before = server.run({"1": training("")["1"], **sampling(["1", 0], ["1", 1], "before")})
    assert before.status == "success", before.messages
    previews = {"sample_every_n_steps": 2, "sample_prompts": "a cat"}
    saving = {"save_every_n_steps": 1}
    workflow = training("shapes", "trained", 2, previews=previews, saving=saving)
    workflow["6"] = node("PreviewImage", images=["5", 2])
    workflow["7"] = node("PreviewImage", images=["5", 3])
    done = server.run(workflow)
    assert done.status == "success", done.messages
    after = {"1": workflow["1"], **sampling(["1", 0], ["1", 1], "after")}
    assert server.run(after).status == "success"
    return {"workflow": workflow, "done": done}


def output(server: Server, name: str) -> bytes:
    return (server.folder / "output" / f"{name}_00001_.png").read_bytes()


def pixels(content: bytes) -> bytes:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return picture.convert("RGB").tobytes()


def test_all_nodes_register_in_comfyui(server: Server) -> None:
    known = server.get("/object_info")
    assert set(NODE_CLASS_MAPPINGS) <= set(known)
    assert not server.logged(rf"IMPORT FAILED.*{PACK}")
    for name in NODE_CLASS_MAPPINGS:
        assert known[name]["python_module"] == f"custom_nodes.{PACK}"


def test_the_train_node_trains_on_the_connected_model(
    server: Server, trained: dict[str, Any], record_property: Any
) -> None:
    path = server.loras / "trained.safetensors"
    record_property("data_sha256", read_adapter_file(path).data_hash())
    record_property("seconds_of_the_prompt", round(trained["done"].seconds, 1))
    state = load_adapter(path)
    assert all(key.startswith("lora_unet_") for key in state.tensors)
    assert state.metadata["ss_sd_model_name"] == "random.safetensors"
    assert state.metadata["ss_base_model_version"] == "sd_v1"
    assert len(load_network(state, build_meta("sd1")).layers) == 282
    steps = [e for e in read_events(server.loras / "trained.events.jsonl") if e["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2]
    shown = trained["done"].outputs
    assert shown["6"]["images"] and shown["7"]["images"]
    assert (server.loras / "sample" / "trained-step-2-00.png").is_file()
    assert (server.loras / "trained-step-1.safetensors").is_file()


def test_the_model_samples_the_same_after_training_as_before(
    server: Server, trained: dict[str, Any]
) -> None:
    assert pixels(output(server, "before")) == pixels(output(server, "after"))


def test_the_trained_file_changes_the_picture_as_in_comfyuis_own_loader(
    server: Server, trained: dict[str, Any]
) -> None:
    workflow = {
        "1": trained["workflow"]["1"],
        "2": node("LycorisExtLoad", file="trained.safetensors"),
        "3": node(
            "LycorisExtApply",
            model=["1", 0],
            clip=["1", 1],
            adapter=["2", 0],
            strength_model=10.0,
            strength_clip=1.0,
        ),
        "4": node("PreviewAny", source=["3", 2]),
        "5": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="trained.safetensors",
                  strength_model=10.0, strength_clip=1.0),
        **sampling(["3", 0], ["3", 1], "ours"),
        **sampling(["5", 0], ["5", 1], "theirs", 40),
    }  # fmt: skip
    done = server.run(workflow)
    assert done.status == "success", done.messages
    (report,) = done.outputs["4"]["text"]
    assert "282 layers" in report and "every key of the file was matched" in report
    assert not server.logged("lora key not loaded")
    ours, theirs = pixels(output(server, "ours")), pixels(output(server, "theirs"))
    assert ours != pixels(output(server, "before"))
    # ComfyUI multiplies in another order.
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1


def test_a_workflow_trains_again_only_when_something_changed(server: Server) -> None:
    workflow = training("changing", "cached", 1, network=SHORT)
    assert "5" in server.run(workflow).executed
    assert "5" not in server.run(workflow).executed
    (server.folder / "input" / "changing" / "2_shapes" / "00.txt").write_text("another caption")
    again = server.run(workflow)
    assert again.status == "success" and "5" in again.executed
    assert (server.loras / "cached-2.safetensors").is_file()


def test_a_finished_run_is_used_again_whatever_decides_nothing(server: Server) -> None:
    workflow = training("long", "reused", 1, network=SHORT)

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in server.loras.glob("reused*")}

    assert server.run(workflow).status == "success"
    before = files()
    endings = ("safetensors", "toml", "events.jsonl", "dataset.json.gz")
    assert set(before) == {f"reused.{ending}" for ending in endings}
    shapes = server.folder / "input" / "long" / "2_shapes"
    (shapes / ".DS_Store").write_bytes(b"x")
    (shapes / "Thumbs.db").write_bytes(b"x")
    os.utime(shapes / "00.txt", ns=(1, 1))
    os.utime(shapes / "00.png", ns=(1, 1))
    for cfg in (3.0, 7.0):  # of the previews, which are not even drawn
        workflow["10"]["inputs"]["cfg"] = cfg
        assert "5" in server.run(workflow).executed and files() == before
    workflow["9"] = node("PrimitiveString", value="long")
    workflow["3"]["inputs"]["path"] = ["9", 0]
    assert server.run(workflow).status == "success" and files() == before
    server.__exit__(None, None, None)
    server.__enter__()
    done = server.run(workflow)
    assert done.status == "success" and "5" in done.executed and files() == before


def test_a_cancelled_run_is_saved_and_the_same_workflow_continues_it(
    server: Server, record_property: Any
) -> None:
    workflow = training("long", "stopped", 6, network=SHORT)
    prompt = server.queue(workflow)
    events = server.loras / "stopped.events.jsonl"

    def steps() -> list[int]:
        return [e["step"] for e in read_events(events) if e["event"] == "step"]

    while not steps():
        time.sleep(0.05)
    asked, done_before = time.monotonic(), len(steps())
    server.interrupt()
    finished = server.wait(prompt)
    record_property("seconds_to_stop", round(time.monotonic() - asked, 2))
    assert finished.was_interrupted
    stopped = len(steps())
    assert done_before <= stopped <= done_before + 1 < 6
    load_network(server.loras / f"stopped-step-{stopped}.safetensors", build_meta("sd1"))
    state = load_state(server.loras / "stopped.state")
    assert state is not None and state.progress.step == stopped and state.optimizer_tensors
    assert server.run(workflow).status == "success"
    assert steps() == [1, 2, 3, 4, 5, 6]
    assert [e["event"] for e in read_events(events)].count("resume") == 1
    assert not (server.loras / "stopped-2.safetensors").exists()


def test_a_wrong_folder_is_refused_at_once(server: Server) -> None:
    for folder, reason in (("nowhere", "no such folder"), ("empty", "empty"), ("../..", "leads")):
        told = server.refused(training(folder))  # when it is queued: nothing ran
        assert list(told) == ["3"] and reason in told["3"]


def test_a_missing_clip_is_refused_at_once(server: Server, trained: dict[str, Any]) -> None:
    workflow = training("shapes", "without_clip")
    del workflow["5"]["inputs"]["clip"]
    done = server.run(workflow)
    # Not after pictures were encoded, which takes most of a short training's time.
    assert done.status == "error" and done.seconds < trained["done"].seconds / 5
    assert (
        done.error["node_id"] == "5" and "no CLIP is connected" in done.error["exception_message"]
    )


def test_a_file_of_another_family_is_refused_at_once(
    server: Server, trained: dict[str, Any]
) -> None:
    network = load_adapter(server.loras / "trained.safetensors")
    # SDXL's blocks have other widths, and blocks that SD1 lacks.
    key = "lora_unet_input_blocks_7_1_transformer_blocks_9_attn1_to_q"
    tensors = {f"{key}.lora_up.weight": torch.ones(1280, 4)}
    tensors |= {f"{key}.lora_down.weight": torch.ones(4, 1280), f"{key}.alpha": torch.tensor(4.0)}
    save_adapter(server.loras / "sdxl.safetensors", AdapterState(tensors, {}))
    shapes = {k.replace("lora_unet_conv_out", "lora_unet_conv_in"): v for k, v in
              network.tensors.items() if "lora_unet_conv_out" in k}  # fmt: skip
    save_adapter(server.loras / "shapes.safetensors", AdapterState(shapes, {}))
    for file in ("sdxl.safetensors", "shapes.safetensors"):
        workflow = {
            "1": trained["workflow"]["1"],
            "2": node("LycorisExtLoad", file=file),
            "3": node("LycorisExtApply", model=["1", 0], adapter=["2", 0], strength_model=1.0),
            "4": node("PreviewAny", source=["3", 2]),
        }
        done = server.run(workflow)
        assert done.status == "error" and done.seconds < trained["done"].seconds / 5, file
        assert done.error["node_id"] == "3"
        assert "connect the family of models" in done.error["exception_message"]


def test_the_text_encoder_trains_and_comfyuis_nodes_take_the_adapter(server: Server) -> None:
    both = {"train": "model and text encoder"}
    workflow = training("shapes", "with_text", 1, network={**SHORT, **both})
    workflow["6"] = node("LoraModelLoader", model=["1", 0], lora=["5", 0], strength_model=1.0)
    workflow["7"] = node("SaveLoRANode", lora=["5", 0], prefix="loras/theirs")
    workflow["8"] = node("LycorisExtInspect", file="(connected path)", path=["5", 1])
    workflow |= sampling(["6", 0], ["1", 1], "loaded")
    done = server.run(workflow)
    assert done.status == "success", done.messages
    tensors = load_adapter(server.loras / "with_text.safetensors").tensors
    text = [k for k in tensors if k.startswith("lora_te_text_model_") and "hada_w2_a" in k]
    assert len(text) == 48 and all(bool(tensors[key].any()) for key in text)
    assert "loha, rank 4" in done.outputs["8"]["text"][0]
    (saved,) = (server.folder / "output" / "loras").glob("theirs_*.safetensors")
    assert set(load_adapter(saved).tensors) == set(tensors)


def comparing(checkpoints: Any, **more: Any) -> dict[str, Any]:
    """Return nodes 20 to 22, which draw the files of a link with the checkpoint of node 1 and save
    the grid as output/grid_00001_.png."""
    return {
        "20": node("LycorisExtSampling", steps=1, cfg=1.0),
        "21": node(
            "LycorisExtCompareLoras",
            model=["1", 0],
            clip=["1", 1],
            vae=["1", 2],
            checkpoints=checkpoints,
            sampling=["20", 0],
            prompts="a cat",
            width=64,
            height=64,
            **more,
        ),
        "22": node("SaveImage", images=["21", 0], filename_prefix="grid"),
    }


def test_the_grid_node_draws_all_columns_and_rows_and_only_once(
    server: Server, trained: dict[str, Any]
) -> None:
    workflow = {
        "1": trained["workflow"]["1"],
        "2": node("LycorisExtLoraList", pattern="trained-step-*"),
        **comparing(["2", 0], seeds="1, 2", strengths="5, 10", title="Steps"),
    }
    done = server.run(workflow)
    assert done.status == "success", done.messages
    from PIL import Image

    with Image.open(server.folder / "output" / "grid_00001_.png") as grid:
        # A column without and two with each of two files, and a row for each seed.
        assert grid.width > 5 * 128 and grid.height > 2 * 128
    assert server.run(workflow).executed == set()


def test_the_checkpoints_of_a_training_are_compared_and_not_drawn_twice(server: Server) -> None:
    workflow = training("shapes", "compared", 2, network=SHORT, saving={"save_every_n_steps": 1})
    workflow |= comparing(["5", 4])
    done = server.run(workflow)
    assert done.status == "success" and {"5", "22"} <= done.executed, done.messages
    assert server.run(workflow).executed == set(), "the files that it wrote itself are no change"


def test_nodes_of_0_1_0_train_and_compare_as_they_did(server: Server) -> None:
    """A workflow in API format, as programs send it, with the widgets of then."""
    old = training("shapes", "of_0_1_0", 1)
    links = {key: old["5"]["inputs"][key] for key in ("model", "clip", "vae")}
    workflow = {
        "1": old["1"],
        "2": node("LycorisExtNetwork", algo="lora", network_dim=2, preset="attn-only",
                  network_train_unet_only=True),
        "3": node("LycorisExtDataset", folder="shapes", resolution=64, enable_bucket=False),
        "4": node("LycorisExtOptimizer", learning_rate=0.01, unet_lr=0.02),
        "5": node("LycorisExtTrain", **links, network=["2", 0], dataset=["3", 0],
                  optimizer=["4", 0], output_name="of_0_1_0", max_train_steps=1, seed=3),
        "6": node("PreviewAny", source=["5", 1]),
    }  # fmt: skip
    done = server.run(workflow)
    assert done.status == "success", done.messages
    metadata = load_adapter(server.loras / "of_0_1_0.safetensors").metadata
    assert metadata["ss_network_dim"] == "2" and metadata["ss_seed"] == "3"
    assert metadata["ss_unet_lr"] == "0.02"
    grid = node("LycorisExtCompareGrid", **links, files="of_0_1_0", seeds="1", strengths="1",
                prompts="a cat", steps=1, cfg=1.0, width=64, height=64)  # fmt: skip
    drawn = server.run(
        {"1": old["1"], "2": grid, "3": node("SaveImage", images=["2", 0], filename_prefix="old")}
    )
    assert drawn.status == "success", drawn.messages
