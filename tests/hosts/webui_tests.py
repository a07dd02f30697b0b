"""The tests that AUTOMATIC1111 and Forge have in common; a module per host imports them.

That module has the fixtures `host`, the running host, `files`, adapters for its model in a folder
that may be read, `small`, settings of a picture, and `modules`, the modules of its model.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.plots.png import read_parameters
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.webui import V1, Webui, draw, pixels, plain, running, wait
from tests.hosts.webui_adapters import write_adapter, write_vae

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
    width = 768 if forge else 64
    word = torch.randn(1, width, generator=torch.Generator().manual_seed(0))
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
