"""The tests that AUTOMATIC1111 and Forge have in common; a module per host imports them.

That module has the fixtures `host`, the running host, `files`, adapters for its model in a folder
that may be read, `small`, settings of a picture, and `modules`, the modules of its model.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.plots.png import read_parameters
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.webui import V1, Webui, draw, pixels, plain, running, wait
from tests.hosts.webui_adapters import write_adapter, write_vae
from tests.hosts.webui_model import TEXT_WIDTH

Settings = dict[str, Any]
VAE = "own.safetensors"


def faults(job: dict[str, Any]) -> list[str]:
    return [cell["fault"] for row in job["cells"] for cell in row]


def chosen(host: Webui) -> str:
    """Return the base model that is chosen in the host, without its hash."""
    return str(host.get("/sdapi/v1/options")["sd_model_checkpoint"]).partition(" [")[0]


def titles(host: Webui) -> list[str]:
    return [model["title"] for model in host.get("/sdapi/v1/sd-models")]


def in_forge(host: Webui) -> bool:
    return "forge_additional_modules" in host.get("/sdapi/v1/options")


def test_cells_of_a_grid_are_the_pictures_that_the_hosts_own_tag_draws(
    host: Webui, files: dict[str, str], small: Settings, record_property: Any
) -> None:
    started = time.monotonic()
    # AUTOMATIC1111 1.8 ignores DoRA, which its cell says.
    known = {kind: path for kind, path in files.items() if kind != "dora" or in_forge(host)}
    job = draw(host, *known.values(), **{**small, "strengths": ["0.5:1"], "seeds": [9]})
    record_property("seconds_a_picture", round((time.monotonic() - started) / job["total"], 2))
    assert (job["state"], faults(job)) == ("complete", [""] * (len(known) + 1))
    (row,) = job["cells"]
    assert len({pixels(cell["path"]) for cell in row}) == len(row), "each is another picture"
    assert pixels(row[0]["path"]) == plain(host, "a cat", 9, settings=small)
    for cell, (kind, path) in zip(row[1:], known.items(), strict=True):
        (host.loras / f"own_{kind}.safetensors").write_bytes(Path(path).read_bytes())
        host.post("/sdapi/v1/refresh-loras")
        own = plain(host, f"a cat <lora:own_{kind}:0.5:1>", 9, settings=small)
        assert pixels(cell["path"]) == own, kind


def test_each_base_model_is_a_row_of_a_grid(
    host: Webui, files: dict[str, str], small: Settings
) -> None:
    models = titles(host)
    assert len(models) == 2
    before = chosen(host)
    job = draw(host, files["loha"], base_models=models, **small)
    assert (job["state"], faults(job)) == ("complete", [""] * 4)
    for row, model in zip(job["cells"], models, strict=True):
        assert f"Model: {model.split('.')[0]}" in read_parameters(Path(row[0]["path"]))
    assert chosen(host) == before


def test_an_overwritten_file_gives_another_picture(
    host: Webui, small: Settings, modules: Mapping[str, nn.Module] | None
) -> None:
    path = host.loras / "changing" / "changing.safetensors"
    write_adapter(path, "loha", seed=7, modules=modules)
    before = draw(host, str(path), **small)["cells"][0]
    write_adapter(path, "loha", seed=8, modules=modules)
    after = draw(host, str(path), **small)["cells"][0]
    path.unlink()
    assert pixels(before[0]["path"]) == pixels(after[0]["path"])
    assert pixels(before[1]["path"]) != pixels(after[1]["path"])
    assert (before[1]["fault"], after[1]["fault"]) == ("", "")


def test_an_interrupted_grid_goes_on_with_its_missing_pictures(
    host: Webui, files: dict[str, str], small: Settings
) -> None:
    seeds = list(range(20, 40))
    asked = {**small, "prompts": ["a house"], "seeds": seeds}
    total = 2 * len(seeds)
    host.post(f"{V1}/grids", {"files": [files["lokr"]], **asked})
    while host.get(f"{V1}/job")["done"] < 1:
        time.sleep(0.05)
    status, answer = host.request(f"{V1}/grids", {"files": [], **asked})
    assert status == 400 and "another grid is being drawn" in answer["error"]
    host.post(f"{V1}/job/interrupt")
    stopped = wait(host)
    assert stopped["state"] == "interrupted" and 1 <= stopped["done"] < total
    resumed = draw(host, files["lokr"], **asked)
    assert (resumed["state"], faults(resumed)) == ("complete", [""] * total)
    assert resumed["painted"] == total - stopped["done"]


def test_the_axes_of_the_xyz_plot_draw_each_checkpoint_and_strength(
    host: Webui, files: dict[str, str], small: Settings
) -> None:
    (info,) = [
        each
        for each in host.get("/sdapi/v1/script-info")
        if each["name"] == "x/y/z plot" and not each["is_img2img"]
    ]
    choices = info["args"][0]["choices"]
    x, y = (choices.index(f"[LyCORIS Ext] {name}") for name in ("checkpoint", "strength"))
    assert choices.count("[LyCORIS Ext] checkpoint") == 1
    listed = host.get("/sdapi/v1/loras")
    axes = [x, f"None, {files['loha']}", "", y, "0.3, 1", "", 0, "", ""]
    # Legend, single pictures, no sub-grids, fixed seeds, the same for all, margin, values as text.
    options = [True, True, False, False, False, False, False, 0, True]
    answer = host.post(
        "/sdapi/v1/txt2img",
        {
            "prompt": "a cat",
            "seed": 1,
            "steps": small["steps"],
            **_size(small),
            "sampler_name": small["sampler"],
            "script_name": "x/y/z plot",
            "script_args": [*axes, *options],
        },
    )
    texts = json.loads(answer["info"])["infotexts"]
    assert sum("<lora:loha__" in text for text in texts[1:]) == 2
    images = [base64.b64decode(image) for image in answer["images"]]
    pictures = [Image.open(io.BytesIO(image)).convert("RGB").tobytes() for image in images[1:5]]
    assert pictures[0] == plain(host, "a cat", settings=small)
    assert len(set(pictures)) == 3, "None twice, and two strengths"
    assert host.get("/sdapi/v1/loras") == listed, "no cards of the plot's adapters"


def test_the_winner_is_installed_with_preview_and_card(
    host: Webui, files: dict[str, str], small: Settings
) -> None:
    cell = draw(host, files["lokr"], **small)["cells"][0][1]
    asked = {"file": files["lokr"], "name": "won", "preview": cell["path"], "strength": 0.8}
    written = host.post(f"{V1}/install", asked)
    assert [Path(path).name for path in written] == ["won.png", "won.json", "won.safetensors"]
    assert "won" in [lora["name"] for lora in host.get("/sdapi/v1/loras")]
    card = json.loads((host.loras / "won.json").read_text("utf-8"))
    assert card["activation text"] == "Tilty, aniscreen" and card["preferred weight"] == 0.8
    status, answer = host.request(f"{V1}/install", asked)
    assert status == 400 and answer["error"] == "a file of this name exists already"


def test_drawing_a_grid_leaves_the_hosts_own_adapters_as_they_were(
    host: Webui, small: Settings, modules: Mapping[str, nn.Module] | None
) -> None:
    """The user's own LoRA is called by the alias that checkpoints of the same run have, too."""
    mine = host.loras / "Mine_final.safetensors"
    write_adapter(mine, "lokr", seed=50, modules=modules, output_name="minealias")
    other = host.data / "outputs" / "lycoris-ext" / "run" / "mine-000001.safetensors"
    write_adapter(other, "lokr", seed=51, modules=modules, output_name="minealias")
    host.post("/sdapi/v1/refresh-loras")
    options, listed = host.get("/sdapi/v1/options"), host.get("/sdapi/v1/loras")
    before = plain(host, "a cat <lora:minealias:1>", settings=small)
    assert before != plain(host, "a cat", settings=small)
    job = draw(host, str(other), str(mine), **small)
    assert faults(job) == ["", "", ""]
    assert pixels(job["cells"][0][2]["path"]) == before
    for _ in range(2):
        assert plain(host, "a cat <lora:minealias:1>", settings=small) == before
        assert host.get("/sdapi/v1/loras") == listed, "no cards of the copies"
        host.post("/sdapi/v1/refresh-loras")
    assert host.get("/sdapi/v1/options") == options
    assert not (host.data / "outputs" / "lycoris-ext" / "staged").exists(), "the disk is free again"
    mine.unlink()
    host.post("/sdapi/v1/refresh-loras")


def test_a_base_model_chosen_while_a_grid_is_drawn_stays_chosen(
    host: Webui, files: dict[str, str], small: Settings
) -> None:
    first, second = titles(host)
    host.post("/sdapi/v1/options", {"sd_model_checkpoint": first})
    plain(host, "a cat", settings=small)
    asked = {"prompts": ["a lake"], "seeds": [70, 71, 72], "base_models": [first], **small}
    host.post(f"{V1}/grids", {"files": [files["lokr"]], **asked})
    while host.get(f"{V1}/job")["done"] < 1:
        time.sleep(0.05)
    host.post("/sdapi/v1/options", {"sd_model_checkpoint": second})
    job = wait(host)
    assert job["state"] == "complete" and chosen(host) == second.partition(" [")[0]
    assert "while this picture was drawn" not in str(faults(job))
    answer = host.post("/sdapi/v1/txt2img", {"prompt": "a cat", "steps": 1, **_size(small)})
    assert f"Model: {second.partition('.')[0]}" in answer["info"]
    assert faults(draw(host, files["lokr"], **asked)) == [""] * 6
    assert chosen(host) == second.partition(" [")[0], "nor by a grid of another base model"
    host.post("/sdapi/v1/options", {"sd_model_checkpoint": first})


def _size(small: Settings) -> Settings:
    return {"width": small["width"], "height": small["height"]}


def test_another_content_of_the_vae_gives_other_pictures(
    host: Webui, small: Settings, files: dict[str, str]
) -> None:
    """Under the same name; the host's own pictures are of the new content, too."""
    file = host.data / "models" / "VAE" / VAE
    checkpoint = host.data / "models" / "Stable-diffusion" / titles(host)[0].partition(" [")[0]
    forge = in_forge(host)
    host.post("/sdapi/v1/options", {"sd_model_checkpoint": titles(host)[0]})
    option = {"forge_additional_modules": [str(file)]} if forge else {"sd_vae": VAE}
    usual = {"forge_additional_modules": []} if forge else {"sd_vae": "Automatic"}
    host.post("/sdapi/v1/options", option)
    seen = []
    for factor in (2.0, 0.5):
        write_vae(file, checkpoint, factor)
        job = draw(host, files["lokr"], **small)
        assert (job["painted"], faults(job)) == (2, ["", ""])
        seen.append(pixels(job["cells"][0][0]["path"]))
        assert seen[-1] == plain(host, "a cat", settings=small)
    assert draw(host, files["lokr"], **small)["painted"] == 0
    host.post("/sdapi/v1/options", usual)
    job = draw(host, vae=["None", VAE], **small)
    (without,), (with_it,) = job["cells"]
    assert pixels(with_it["path"]) == seen[1], "as an axis"
    assert pixels(without["path"]) == plain(host, "a cat", settings=small)
    assert len({*seen, pixels(without["path"])}) == 3


def test_comments_in_a_prompt_are_stripped_as_the_host_strips_them(
    host: Webui, small: Settings
) -> None:
    (cell,) = draw(host, **{**small, "prompts": ["a cat # and a dog"]})["cells"][0]
    assert pixels(cell["path"]) == plain(host, "a cat # and a dog", settings=small)
    assert pixels(cell["path"]) == plain(host, "a cat ", settings=small)


def test_every_axis_draws_what_the_hosts_own_settings_draw(host: Webui, small: Settings) -> None:
    forge = in_forge(host)
    size = small["width"]
    values: dict[str, list[Any]] = {
        "steps": [small["steps"] + 1],
        "cfg_scale": [3.5],
        "sampler": ["DDIM"],
        "clip_skip": [2],
        "sizes": [f"{size}x{size + 64}"],
        "hires_fix": ["1.5 Latent 0.5"],
        **({"scheduler": ["Karras"]} if forge else {}),
    }
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.5}
    more_in_forge = {"hr_cfg": 7, "hr_additional_modules": ["Use same choices"]} if forge else {}
    own: dict[str, dict[str, Any]] = {
        "steps": {"steps": small["steps"] + 1},
        "cfg_scale": {"cfg_scale": 3.5},
        "sampler": {"sampler_name": "DDIM"},
        "clip_skip": {"override_settings": {"CLIP_stop_at_last_layers": 2}},
        "sizes": {"height": size + 64},
        "hires_fix": hires | more_in_forge,
        "scheduler": {"scheduler": "Karras"},
    }
    seen = {plain(host, "a cat", settings=small)}
    for name, chosen_values in values.items():
        ((cell,),) = draw(host, **{**small, name: chosen_values})["cells"]
        assert cell["fault"] == "", name
        assert pixels(cell["path"]) == plain(host, "a cat", settings=small, **own[name]), name
        assert pixels(cell["path"]) not in seen, name
        seen.add(pixels(cell["path"]))
    status, answer = host.request(f"{V1}/grids", {"files": [], "prompts": ["a"], "sampler": "Nope"})
    assert status == 400 and answer["error"] == "the host has no 'Nope'"
    if not forge:
        asked = {"files": [], "prompts": ["a"], "scheduler": "Karras"}
        assert "no such setting" in host.request(f"{V1}/grids", asked)[1]["error"]


def test_an_adapter_in_a_prompt_is_drawn_beside_that_of_the_column(
    host: Webui, small: Settings, files: dict[str, str]
) -> None:
    for kind in ("loha", "lokr"):
        (host.loras / f"own_{kind}.safetensors").write_bytes(Path(files[kind]).read_bytes())
    host.post("/sdapi/v1/refresh-loras")
    prompt = "a <lora:own_loha:0.5> cat"
    job = draw(host, files["lokr"], **{**small, "prompts": [prompt]})
    assert faults(job) == ["", ""]
    with_one, with_both = (pixels(cell["path"]) for cell in job["cells"][0])
    assert with_one == plain(host, prompt, settings=small)
    assert with_both == plain(host, f"{prompt} <lora:own_lokr:1>", settings=small)


def test_the_parameters_of_a_picture_draw_it_again_in_txt2img(
    host: Webui, small: Settings, files: dict[str, str]
) -> None:
    copied = host.loras / "sent.safetensors"
    copied.write_bytes(Path(files["lokr"]).read_bytes())
    host.post("/sdapi/v1/refresh-loras")
    cell = draw(host, str(copied), **{**small, "strengths": ["0.5:1"]})["cells"][0][1]
    prompt, *rest = read_parameters(Path(cell["path"])).splitlines()
    assert prompt == "a cat <lora:sent:0.5:1>" and "sent: " in rest[-1], rest
    assert plain(host, prompt, settings=small) == pixels(cell["path"])


def test_words_that_are_bundled_with_an_adapter_are_drawn_or_named(
    host: Webui, small: Settings, files: dict[str, str]
) -> None:
    state = load_adapter(files["lokr"])
    forge = in_forge(host)
    word = torch.randn(1, TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    bundled = {"bundle_emb.tiltyword.string_to_param.*": word}
    path = host.loras / "worded.safetensors"
    save_adapter(path, AdapterState({**state.tensors, **bundled}, state.metadata))
    host.post("/sdapi/v1/refresh-loras")
    job = draw(host, str(path), **{**small, "prompts": ["a tiltyword"]})
    assert faults(job) == ["", ""]
    cell = job["cells"][0][1]["path"]
    assert pixels(cell) == plain(host, "a tiltyword <lora:worded:1>", settings=small)
    if forge:
        assert "leaves out the word that is bundled with it: tiltyword" in str(job["notes"])
    path.unlink()
    host.post("/sdapi/v1/refresh-loras")


def test_an_adapter_that_changes_nothing_is_remarked(
    host: Webui, small: Settings, files: dict[str, str]
) -> None:
    state = load_adapter(files["lokr"])
    path = host.data / "outputs" / "lycoris-ext" / "run" / "dead.safetensors"
    tensors = {k: t if k.endswith("alpha") else t * 0 for k, t in state.tensors.items()}
    save_adapter(path, AdapterState(tensors, state.metadata))
    job = draw(host, str(path), **small)
    assert pixels(job["cells"][0][0]["path"]) == pixels(job["cells"][0][1]["path"])
    assert faults(job) == ["", ""] and "dead: It changes nothing" in str(job["notes"])


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a signal of POSIX systems")
def test_a_grid_of_a_killed_host_is_listed_by_the_next_and_goes_on(
    checkout: Checkout, files: dict[str, str], small: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "outputs" / "lycoris-ext"
    run = folder / "run" / "lokr.safetensors"
    run.parent.mkdir(parents=True)
    run.write_bytes(Path(files["lokr"]).read_bytes())
    asked = {"files": [str(run)], "prompts": ["a cat"], **small, "seeds": list(range(20))}
    (tmp_path / "models").mkdir()
    with running(checkout, tmp_path, {"clone": ROOT}) as first:
        grid = first.post(f"{V1}/grids", asked)["grid"]
        while (job := first.get(f"{V1}/job"))["done"] < 4:
            assert job["state"] == "running", job
            time.sleep(0.05)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    assert (folder / "grids" / grid / "grid.html").is_file()
    kept = len(list((folder / "cells").glob("*.png")))
    assert 4 <= kept < 40
    with running(checkout, tmp_path, {"clone": ROOT}) as second:
        assert second.get(f"{V1}/grids") == [grid]
        assert second.request(f"{V1}/grids/{grid}/page")[0] == 200
        assert not (folder / "staged").exists()
        job = second.post(f"{V1}/grids/{grid}/continue")
        assert job["grid"] == grid
        job = wait(second)
        assert (job["state"], job["total"], job["painted"]) == ("complete", 40, 40 - kept)
        assert faults(job) == [""] * 40
        assert second.get(f"{V1}/grids/{grid}")["seeds"] == list(range(20))
        assert second.post(f"{V1}/grids/{grid}/hide") == []
        assert second.post(f"{V1}/grids/{grid}/show") == [grid]
        assert second.post(f"{V1}/grids/{grid}/delete") == []
        assert not list((folder / "cells").glob("*.png"))
