"""The tab inside the real AUTOMATIC1111: its routes, and clicks in a browser."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.hosts.webui import install_webui
from lycoris_ext.mini import character_folder
from lycoris_ext.plots.png import read_parameters
from tests.browser import browsing, fill, wait_for
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.webui import (
    SMALL,
    V1,
    Webui,
    click_tab,
    draw,
    open_tab,
    pixels,
    plain,
    running,
)
from tests.hosts.webui_access import (  # noqa: F401 - pytest runs them here
    test_a_foreign_web_page_can_start_nothing,
    test_odd_requests_are_answered_in_words,
)
from tests.hosts.webui_adapters import (
    CONFIGS,
    write_adapter,
    write_hostile,
    write_overflowing,
    write_vae,
)
from tests.hosts.webui_model import tiny_checkpoints
from tests.hosts.webui_sdxl import (  # noqa: F401 - pytest runs it here
    test_a_grid_of_sdxl_is_what_the_host_draws_with_its_own_tag,
)
from tests.hosts.webui_tests import (  # noqa: F401 - pytest runs them here
    VAE,
    test_a_base_model_chosen_while_a_grid_is_drawn_stays_chosen,
    test_a_grid_of_a_killed_host_is_listed_by_the_next_and_goes_on,
    test_an_adapter_in_a_prompt_is_drawn_beside_that_of_the_column,
    test_an_adapter_that_changes_nothing_is_remarked,
    test_an_interrupted_grid_goes_on_with_its_missing_pictures,
    test_an_overwritten_file_gives_another_picture,
    test_another_content_of_the_vae_gives_other_pictures,
    test_cells_of_a_grid_are_the_pictures_that_the_hosts_own_tag_draws,
    test_comments_in_a_prompt_are_stripped_as_the_host_strips_them,
    test_drawing_a_grid_leaves_the_hosts_own_adapters_as_they_were,
    test_each_base_model_is_a_row_of_a_grid,
    test_every_axis_draws_what_the_hosts_own_settings_draw,
    test_the_axes_of_the_xyz_plot_draw_each_checkpoint_and_strength,
    test_the_parameters_of_a_picture_draw_it_again_in_txt2img,
    test_the_winner_is_installed_with_preview_and_card,
    test_words_that_are_bundled_with_an_adapter_are_drawn_or_named,
)

pytestmark = pytest.mark.hosts

IGNORED = "ignores DoRA's lengths"

#: The environment that trains: this one, with this tree.
PYTHON = """#!/bin/sh
PYTHONPATH='{root}' exec '{python}' "$@"
"""

#: Opens the list of grids; an answer of "Look for grids" that comes later closes it again.
OPEN_GRIDS = """(() => {
  const field = document.querySelector("#lycoris_ext_grids input");
  field.blur();
  field.focus();
  return document.querySelector("#lycoris_ext_grids ul li");
})()"""

CONFIG = """
pretrained_model_name_or_path = "mini"
train_data_dir = '{pictures}'
output_dir = '{folder}'
output_name = "mimo"
resolution = 64
max_train_steps = 4
"""


@pytest.fixture(scope="module")
def host(webui: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    """Start a host with this clone and an installed copy as extensions, and with a run."""
    data = tmp_path_factory.mktemp("webui")
    (data / "extensions").mkdir()
    (data / "models").mkdir()
    install_webui(data)
    run = data / "runs" / "tilty"
    run.mkdir(parents=True)
    for index, kind in enumerate(CONFIGS):
        write_adapter(run / f"{kind}.safetensors", kind, seed=index, step=100 * (index + 1))
    write_hostile(run / "hostile.safetensors")
    steps = [{"event": "step", "step": n, "loss": 0.1 + 1 / (n + 3)} for n in range(1, 401)]
    events = "".join(json.dumps(step) + "\n" for step in steps)
    (run / "tilty.events.jsonl").write_text(events, encoding="utf-8")
    python = data / "python"
    python.write_text(PYTHON.format(root=ROOT, python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    settings = {"lycoris_ext_train_python": str(python)}
    (data / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    write_vae(data / "models" / "VAE" / VAE, tiny_checkpoints() / "tiny-a.safetensors", 1)
    with running(webui, data, {"clone": ROOT}) as running_host:
        yield running_host


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    return SMALL


@pytest.fixture(scope="module")
def modules() -> None:
    """Let `write_adapter` take the tiny model."""


@pytest.fixture(scope="module")
def checkout(webui: Checkout) -> Checkout:
    return webui


@pytest.fixture(scope="module")
def run(host: Webui) -> Path:
    return host.data / "runs" / "tilty"


@pytest.fixture(scope="module")
def files(run: Path) -> dict[str, str]:
    return {kind: str(run / f"{kind}.safetensors") for kind in CONFIGS}


def test_the_tab_is_there_once(host: Webui) -> None:
    config = host.get("/config")
    identities = [part["props"].get("elem_id") for part in config["components"]]
    for name in ("pages", "list", "draw", "vote", "install", "train"):
        assert identities.count(f"lycoris_ext_{name}") == 1, name
    said = host.said()
    assert "Error loading script" not in said and "Error executing callback" not in said


def test_every_route_is_described_in_openapi(host: Webui) -> None:
    paths = host.get("/openapi.json")["paths"]
    ours = {path for path in paths if path.startswith(V1)}
    assert len(ours) == 21 and f"{V1}/grids/{{grid}}/page" in ours
    body = paths[f"{V1}/grids"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["strengths"]["type"] == "array"


def test_a_run_is_listed_in_order_and_its_hostile_file_refused(host: Webui, run: Path) -> None:
    assert str(run) in host.get(f"{V1}/runs")
    listed = host.post(f"{V1}/run", {"folder": str(run)})
    found = [(each["name"], each["step"]) for each in listed["checkpoints"]]
    assert found == [("loha", 100), ("locon-tucker", 200), ("lokr", 300), ("dora", 400)]
    assert listed["refused"] == [
        {
            "file": "hostile.safetensors",
            "why": "the header has 10,737,418,240 bytes, at most 32,000,000 are read",
        }
    ]


def test_keys_are_checked_before_anything_is_drawn(host: Webui, files: dict[str, str]) -> None:
    answers = host.post(f"{V1}/check", {"files": list(files.values())})
    verdicts = [answer["verdict"] for answer in answers]
    assert verdicts[:3] == ["all 306 layers fit"] * 3
    assert IGNORED in verdicts[3] and "306 layers" in verdicts[3]


def test_a_grid_marks_what_the_host_ignores_and_redraws_that_alone(
    host: Webui, files: dict[str, str], record_property: Any
) -> None:
    started = time.monotonic()
    job = draw(
        host,
        *files.values(),
        prompts=["a red cat", "a dog --n rain", "Tilty, smile"],
        seeds=[1, 2],
        strengths=["0.7", "0.5:1"],
    )
    seconds = time.monotonic() - started
    record_property("pictures", job["total"])
    record_property("seconds_a_picture", round(seconds / job["total"], 2))
    assert (job["state"], job["total"], job["painted"]) == ("complete", 6 * 9, 6 * 9)
    for row in job["cells"]:
        assert [cell["fault"] for cell in row[:7]] == [""] * 7
        assert all(IGNORED in cell["fault"] for cell in row[7:])
        assert len({pixels(cell["path"]) for cell in row}) == 9, "every column is another picture"
    base = plain(host, "a dog", seed=2, negative="rain")
    assert pixels(job["cells"][3][0]["path"]) == base, "without adapter: a plain generation"
    again = draw(
        host,
        *files.values(),
        prompts=["a red cat", "a dog --n rain", "Tilty, smile"],
        seeds=[1, 2],
        strengths=["0.7", "0.5:1"],
    )
    assert again["painted"] == 12, "what is right is kept, what has a fault is tried again"


def test_pictures_of_noise_cost_no_file_of_their_grid(host: Webui, files: dict[str, str]) -> None:
    """The tiny model draws nothing but noise, whose JPEG has more than a byte per pixel."""
    job = draw(host, files["loha"], width=448, height=448, steps=1)
    assert (job["state"], job["problem"], job["notes"]) == ("complete", "", [])
    folder = host.data / "outputs" / "lycoris-ext" / "grids" / job["grid"]
    assert {path.name for path in folder.iterdir()} >= {"grid.html", "grid.json", "grid.png"}
    assert job["grid"] in host.get(f"{V1}/grids")


def test_a_picture_that_becomes_nan_costs_its_cell_alone(
    host: Webui, files: dict[str, str]
) -> None:
    burnt = host.data / "runs" / "burnt.safetensors"
    write_overflowing(burnt, files["loha"])
    job = draw(host, str(burnt), files["lokr"], prompts=["a cat", "a dog"])
    burnt.unlink()
    assert (job["state"], job["done"]) == ("complete", 6)
    for row in job["cells"]:
        assert [bool(cell["fault"]) for cell in row] == [False, True, False]
        assert "NaNs was produced" in row[1]["fault"]


def test_a_network_that_was_loaded_in_part_is_marked(
    host: Webui, run: Path, files: dict[str, str]
) -> None:
    state = load_adapter(files["loha"])
    half = {key: tensor for key, tensor in state.tensors.items() if "lora_te" not in key}
    extra = {key.replace("down_blocks", "elsewhere"): t for key, t in half.items()}
    path = run / "partly.safetensors"
    save_adapter(path, AdapterState(extra, state.metadata))
    cells = draw(host, str(path))["cells"][0]
    path.unlink()
    assert cells[0]["fault"] == ""
    assert "has no place for" in cells[1]["fault"] and "elsewhere" in cells[1]["fault"]


def test_page_picture_and_votes_of_a_grid_are_kept_on_disk(
    host: Webui, files: dict[str, str]
) -> None:
    grid = draw(host, files["loha"], tests=["trigger only"], trigger="Tilty")["grid"]
    page = host.get(f"{V1}/grids/{grid}/page").decode("utf-8")
    assert "http://" not in page and "https://" not in page
    shown = re.findall(r'"src":"(cells/[^"]+)"', page)
    assert len(shown) == 4
    for address in shown:
        with Image.open(io.BytesIO(host.get(f"{V1}/grids/{grid}/{address}"))) as cell:
            assert cell.size == (128, 128)
    picture = host.data / "outputs" / "lycoris-ext" / "grids" / grid / "grid.png"
    assert host.get(f"{V1}/grids/{grid}/picture") == picture.read_bytes()
    text = read_parameters(picture)
    assert "<lora:loha:1>" in text and "Steps: 4, Sampler: Euler" in text
    votes = host.post(f"{V1}/votes", {"grid": grid, "row": 0, "column": 1})
    assert votes == {"loha at 1": 1} and host.get(f"{V1}/votes/{grid}") == {"0": 1}
    kept = json.loads((Path(files["loha"]).parent / "lycoris-ext-votes.json").read_text("utf-8"))
    assert [vote["adapter"] for vote in kept["votes"]] == ["loha"]


def test_paths_outside_and_wrong_requests_are_refused_in_words(host: Webui, tmp_path: Path) -> None:
    outside = write_adapter(tmp_path / "outside.safetensors", "lokr")
    for path in (str(outside), "/etc/passwd", f"{host.data}/../outside", "\0", "~/.."):
        status, answer = host.request(f"{V1}/run", {"folder": path})
        assert status == 403, path
    link = host.data / "runs" / "link.safetensors"
    link.symlink_to(outside)
    status, answer = host.request(f"{V1}/run", {"folder": str(link)})
    link.unlink()
    assert status == 403 and "not inside a folder that the host allows" in answer["error"]
    for asked, where in (
        ({"files": []}, "tests"),
        ({"files": [], "prompts": ["a <lora:x:1>"]}, "prompts"),
        ({"files": [], "prompts": ["a"], "seeds": ["x"]}, "seeds"),
        ({"files": [], "prompts": ["a"], "width": 10**6}, "width"),
        ({"files": [], "prompts": ["a"], "base_models": ["none"]}, "base models"),
        ({"files": [], "prompt": "a"}, "prompt"),
    ):
        status, answer = host.request(f"{V1}/grids", asked)
        assert (status, answer["where"]) == (400, where)
    assert host.request(f"{V1}/grids/..%2F..%2Fx/page")[0] in (403, 404)


def test_a_click_draws_a_grid(host: Webui, run: Path, tmp_path: Path) -> None:
    (run / "<img src=x onerror=document.title='owned'>.safetensors").write_bytes(b"hostile")
    shots = Path(os.environ.get("LYCORIS_EXT_SCREENSHOTS", tmp_path))
    with browsing((1500, 1500)) as browser:
        open_tab(browser, host)
        fill(browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_folder textarea"), "~/runs/tilty")
        browser.find_element(By.ID, "lycoris_ext_list").click()
        wait_for(browser, "document.querySelectorAll('#lycoris_ext_run_table table').length > 1")
        assert "<img src=x" in browser.find_element(By.ID, "lycoris_ext_run_table").text, "as text"
        browser.find_element(By.ID, "lycoris_ext_check").click()
        wait_for(browser, "document.querySelector('#lycoris_ext_verdicts table')")
        browser.execute_script("window.scrollTo(0, 0)")
        (shots / "webui_pick.png").write_bytes(browser.get_screenshot_as_png())
        browser.find_element(By.ID, "lycoris_ext_metadata").click()
        told = "document.querySelector('#lycoris_ext_verdicts').innerText"
        wait_for(browser, f"{told}.includes('Tilty (40)')")
        browser.find_element(By.ID, "lycoris_ext_curve").click()
        wait_for(browser, "document.querySelector('#lycoris_ext_curve_picture img')")
        click_tab(browser, "#lycoris_ext_pages", "2 Test")
        for name in ("steps", "width", "height"):
            field = browser.find_element(By.CSS_SELECTOR, f"#lycoris_ext_{name} input")
            fill(field, str(SMALL[name]))
        browser.find_element(By.ID, "lycoris_ext_draw").click()
        wait_for(browser, "document.querySelector('#lycoris_ext_progress table')", 200)
        told = browser.find_element(By.ID, "lycoris_ext_progress").text
        assert told.startswith("complete: 10 of 10 pictures")
        click_tab(browser, "#lycoris_ext_pages", "3 Judge")
        browser.find_element(By.ID, "lycoris_ext_refresh_grids").click()
        wait_for(browser, OPEN_GRIDS)
        browser.execute_script(
            "arguments[0].dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))",
            browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_grids ul li"),
        )
        browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_page iframe"))
        wait_for(browser, "document.querySelectorAll('figure img').length == 10")
        browser.execute_script("document.querySelectorAll('.vote')[2].click()")
        assert browser.find_element(By.ID, "tally").text == "Best so far: locon-tucker (1)"
        browser.switch_to.default_content()
        browser.execute_script("document.querySelector('#lycoris_ext_page').scrollIntoView()")
        (shots / "webui_judge.png").write_bytes(browser.get_screenshot_as_png())
        assert browser.title != "owned"
        open_tab(browser, host)
        click_tab(browser, "#lycoris_ext_pages", "2 Test")
        browser.find_element(By.ID, "lycoris_ext_follow").click()
        progress = "document.querySelector('#lycoris_ext_progress').textContent"
        wait_for(browser, f"{progress}.includes('complete: 10 of 10')")
    kept = json.loads((run / "lycoris-ext-votes.json").read_text("utf-8"))
    assert kept["votes"][-1]["adapter"] == "locon-tucker"


def test_a_training_runs_in_another_process_and_writes_its_checkpoint(host: Webui) -> None:
    folder = host.data / "runs" / "mimo"
    folder.mkdir()
    config = folder / "mimo.toml.txt"
    text = CONFIG.format(pictures=character_folder(), folder=folder)
    status, answer = host.request(f"{V1}/training", {"config": str(config)})
    assert status == 400 and answer["error"] == "this is no config file"
    config = folder / "config.toml"
    config.write_text(text, encoding="utf-8")
    assert host.post(f"{V1}/training", {"config": str(config)})["running"]
    while (state := host.get(f"{V1}/training"))["running"]:
        time.sleep(0.5)
    assert state["finished"] and state["step"] == 4, state
    listed = host.post(f"{V1}/run", {"folder": str(folder)})
    assert [each["step"] for each in listed["checkpoints"]] == [4]


def test_nothing_went_wrong_in_the_hosts_log(host: Webui) -> None:
    # A clone without a remote is a traceback of the host's own.
    said = host.said()
    assert "webui_extension" not in said and "Error executing callback" not in said
