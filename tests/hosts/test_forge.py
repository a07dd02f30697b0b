"""The tab inside the real Forge, where it differs from AUTOMATIC1111."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from tests.browser import browsing, fill, wait_for
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.webui import (
    SMALL,
    V1,
    Webui,
    click_tab,
    draw,
    open_tab,
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
    write_vae,
)
from tests.hosts.webui_model import tiny_checkpoints
from tests.hosts.webui_tests import (  # noqa: F401 - pytest runs them here
    VAE,
    faults,
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


@pytest.fixture(scope="module")
def host(forge: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    """Start Forge with this clone in its extensions, and with a run to look at."""
    data = tmp_path_factory.mktemp("forge")
    run = data / "models" / "Lora" / "tilty"
    for index, kind in enumerate(CONFIGS):
        path = run / f"{kind}.safetensors"
        write_adapter(path, kind, seed=index, step=100 * (index + 1))
    write_hostile(run / "hostile.safetensors")
    write_vae(data / "models" / "VAE" / VAE, tiny_checkpoints() / "tiny-a.safetensors", 1)
    with running(forge, data, {"clone": ROOT}) as running_host:
        yield running_host


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    return SMALL


@pytest.fixture(scope="module")
def modules() -> None:
    """Return None: the adapters are those of the tiny model."""


@pytest.fixture(scope="module")
def checkout(forge: Checkout) -> Checkout:
    return forge


@pytest.fixture(scope="module")
def run(host: Webui) -> Path:
    return host.loras / "tilty"


@pytest.fixture(scope="module")
def files(run: Path) -> dict[str, str]:
    return {kind: str(run / f"{kind}.safetensors") for kind in CONFIGS}


@pytest.fixture(scope="module")
def odd(host: Webui, files: dict[str, str]) -> dict[str, str]:
    """Write LoHas of which the model lacks two and ten layers, and one of another shape."""
    state = load_adapter(files["loha"])
    layers = list(state.layers())

    def moved(count: int) -> dict[str, Any]:
        gone = set(layers[:count])
        names = {key: key.partition(".")[0] in gone for key in state.tensors}
        return {f"x_{key}" if names[key] else key: t for key, t in state.tensors.items()}

    narrow = {
        key: tensor[:, :-1].clone() if "attn2_to_k.hada_w" in key and key[-1] == "b" else tensor
        for key, tensor in state.tensors.items()
    }
    contents = {"two-moved": moved(2), "ten-moved": moved(10), "narrow": narrow}
    paths = {}
    for name, tensors in contents.items():
        path = host.loras / "odd" / f"{name}.safetensors"
        save_adapter(path, AdapterState(tensors, state.metadata))
        paths[name] = str(path)
    return paths


def test_the_tab_and_the_axes_of_the_xyz_plot_are_there_once(host: Webui) -> None:
    config = host.get("/config")
    identities = [part["props"].get("elem_id") for part in config["components"]]
    for name in ("pages", "list", "draw", "vote", "install", "train"):
        assert identities.count(f"lycoris_ext_{name}") == 1, name
    (info,) = [
        each
        for each in host.get("/sdapi/v1/script-info")
        if each["name"] == "x/y/z plot" and not each["is_img2img"]
    ]
    assert info["args"][0]["choices"].count("[LyCORIS Ext] checkpoint") == 1


def test_keys_are_checked_before_anything_is_drawn(forge: Checkout, tmp_path: Path) -> None:
    """In a host of its own: that of the other tests has drawn before."""
    folder = tmp_path / "models" / "Lora"
    files = [str(write_adapter(folder / f"{kind}.safetensors", kind)) for kind in CONFIGS]
    with running(forge, tmp_path, {"clone": ROOT}) as fresh:
        assert "Loading Model" not in fresh.said(), "Forge loads it with the first picture, or here"
        answers = fresh.post(f"{V1}/check", {"files": files})
    assert [answer["verdict"] for answer in answers] == ["all 306 layers fit"] * 4


def test_a_run_is_listed_and_layers_that_do_not_fit_are_named(
    host: Webui, run: Path, odd: dict[str, str]
) -> None:
    listed = host.post(f"{V1}/run", {"folder": str(run)})
    assert [each["name"] for each in listed["checkpoints"]] == list(CONFIGS)
    assert [each["file"] for each in listed["refused"]] == ["hostile.safetensors"]
    answers = host.post(f"{V1}/check", {"files": list(odd.values())})
    two, ten, narrow = (answer["verdict"] for answer in answers)
    assert "has no place for 2 of its 306 layers" in two
    assert "Forge leaves out the whole file: 50 of its tensors have no place" in ten
    assert "The model has another shape for 16 of its 306 layers" in narrow


def test_adapters_that_do_not_fit_are_marked_and_the_grid_goes_on(
    host: Webui, files: dict[str, str], odd: dict[str, str]
) -> None:
    job = draw(host, *odd.values(), files["lokr"], **SMALL)
    base, two, ten, narrow, lokr = faults(job)
    assert (job["state"], base, lokr) == ("complete", "", "")
    assert "has no place for 2" in two and "leaves out the whole file" in ten
    assert "another shape for 16" in narrow


def test_a_click_draws_a_grid(host: Webui, files: dict[str, str], tmp_path: Path) -> None:
    with browsing((1500, 1500)) as browser:
        open_tab(browser, host)
        fill(browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_folder textarea"), files["lokr"])
        browser.find_element(By.ID, "lycoris_ext_list").click()
        wait_for(browser, "document.querySelectorAll('#lycoris_ext_run_table table').length")
        browser.find_element(By.ID, "lycoris_ext_check").click()
        wait_for(browser, "document.querySelector('#lycoris_ext_verdicts table')")
        click_tab(browser, "#lycoris_ext_pages", "2 Test")
        for name in ("steps", "width", "height"):
            field = browser.find_element(By.CSS_SELECTOR, f"#lycoris_ext_{name} input")
            fill(field, str(SMALL[name]))
        browser.find_element(By.ID, "lycoris_ext_draw").click()
        said = "document.querySelector('#lycoris_ext_progress').innerText"
        wait_for(browser, f"{said}.startsWith('complete: ')", 300)
        browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "#lycoris_ext_grid iframe"))
        wait_for(browser, "document.images.length && document.images[0].naturalWidth")
        browser.switch_to.default_content()
        browser.execute_script("document.querySelector('#lycoris_ext_grid').scrollIntoView()")
        (tmp_path / "drawn.png").write_bytes(browser.get_screenshot_as_png())
        links = browser.find_elements(By.CSS_SELECTOR, "#lycoris_ext_grid a")
        assert [link.text for link in links] == ["Open in a new tab", "As one picture"]
        for link in links:
            with urllib.request.urlopen(str(link.get_attribute("href"))) as answer:
                assert answer.status == 200
        browser.get(f"{host.url}/?__theme=dark")
        value = "document.querySelector('#lycoris_ext_{0} textarea, #lycoris_ext_{0} input')?.value"
        wait_for(browser, f"{value.format('folder')} === '{files['lokr']}'")
        wait_for(browser, f"{value.format('width')} === '{SMALL['width']}'")
        wait_for(browser, f"{value.format('theme')} === 'dark'")
        wait_for(browser, "document.querySelector('#lycoris_ext_chosen input:checked')")


def test_nothing_of_ours_went_wrong_in_the_hosts_log(host: Webui) -> None:
    said = host.said()
    assert "Error executing callback" not in said and "lycoris_ext_webui.py" not in said
