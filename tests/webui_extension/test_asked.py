"""What a request for a grid becomes: its rows, and sentences for what the host cannot draw."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.plan import GridPlan
from tests.webui_extension.conftest import FakeHost, ask
from webui_extension import asked, schemas
from webui_extension.laboratory import Laboratory


def plan(laboratory: Laboratory, **more: Any) -> GridPlan:
    request = schemas.checked({"files": [], "prompts": ["a cat"], **more}, schemas.GRID)
    return asked.plan_of(laboratory, asked.resolved(request))


def test_each_setting_may_have_several_values_as_rows(laboratory: Laboratory) -> None:
    made = plan(
        laboratory,
        steps=[4, 8],
        sampler=["Euler", "Euler a"],
        scheduler="Karras",
        vae=["None", "soft.pt"],
        sizes=["64x128"],
        hires_fix=["off", "2 R-ESRGAN 4x+ 0.5"],
    )
    assert len(made.rows) == 2 * 2 * 2 * 2
    assert len({row.settings for row in made.rows}) == 16
    last = made.rows[-1].settings
    assert (last.steps, last.sampler, last.width, last.height) == (8, "Euler a", 64, 128)
    assert dict(last.extra) == {
        "scheduler": "Karras",
        "vae": "soft.pt [0123456789]",
        "hires_fix": "2 R-ESRGAN 4x+ 0.5",
    }


def test_another_content_of_a_vae_makes_other_pictures(
    laboratory: Laboratory, host: FakeHost
) -> None:
    keys = set()
    for host.vae in ("0123456789", "abcdef0123"):
        keys |= {cell.key({}) for cell in plan(laboratory, vae="soft.pt").cells()}
    assert len(keys) == 2


def test_styles_are_put_into_the_prompts_as_the_host_does_it(laboratory: Laboratory) -> None:
    rows = plan(laboratory, prompts=["a cat --n rain"], styles=["", "ink", "soft"]).rows
    assert [row.test.prompt for row in rows] == ["a cat", "a cat, ink", "a cat, soft"]
    assert [row.test.negative_prompt for row in rows] == ["rain", "rain, colour", "rain"]
    assert [row.test.title for row in rows] == ["a cat", "a cat, ink", "a cat, soft"]


def test_a_random_seed_is_drawn_anew_for_each_grid(laboratory: Laboratory) -> None:
    seeds = {row.seed for _ in range(5) for row in plan(laboratory, seeds=[-1, -1]).rows}
    assert len(seeds) > 5 and all(0 <= seed < 2**32 for seed in seeds)


def test_an_adapter_named_in_a_prompt_is_drawn_with_every_column(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    style = host.lora_folder() / "style.safetensors"
    shutil.copy(folder / "tilty-step-1000.safetensors", style)
    job = ask(laboratory, folder, prompts=["a cat", "a <lora:style:0.5:1> cat"])
    names = [[adapter.shown for adapter in order.adapters] for order in host.orders]
    assert names == [[], ["style"], ["tilty-step-200"], ["style", "tilty-step-200"]]
    assert [order.prompt for order in host.orders[2:]] == ["a cat", "a  cat"]
    assert str(host.orders[3].adapters[0].strength) == "0.5:1"
    faults = [[cell.fault if cell else None for cell in row] for row in job.grid.table()]
    assert faults[0] == ["", ""], "only the rows of the other adapter have its faults"
    assert all(fault and "ignores DoRA's lengths" in fault for fault in faults[1])
    shutil.copy(folder / "tilty-step-200.safetensors", style)
    again = ask(laboratory, folder, prompts=["a cat", "a <lora:style:0.5:1> cat"])
    assert again.plan.id != job.plan.id, "another content of the adapter is another grid"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sampler": "Nope"}, "sampler: the host has no 'Nope'\n  -> use: Euler a, Euler"),
        ({"sampler": "euler A"}, "the host has no 'euler A'\n  -> use: Euler a"),
        ({"scheduler": ["Linear"]}, "scheduler: the host has no 'Linear'"),
        ({"vae": "gone.pt"}, "vae: the host has no 'gone.pt'"),
        ({"styles": ["gone"]}, "styles: the host has no 'gone'"),
        ({"hires_fix": ["2 Gone 0.5"]}, "hires_fix: the host has no 'Gone'"),
        ({"hires_fix": ["much"]}, "'much' is none of its values"),
        (
            {"hires_fix": ["0 Latent 0.5"]},
            "'0 Latent 0.5' is none of its values\n  -> scale from 1",
        ),
        ({"hires_fix": ["512 Latent"]}, "'512 Latent' is none of its values"),
        ({"hires_fix": ["9" * 400]}, "is none of its values"),
        ({"sizes": ["64"]}, "sizes: '64' is none of its values"),
        ({"sizes": ["65x64"]}, "sizes is 65 pixels, .* multiples of 8"),
        ({"steps": [0]}, "steps is 0"),
        ({"seeds": [-2]}, "the seed is -2"),
        ({"prompts": ["a <lora:gone:1> cat"]}, "the host has no LoRA 'gone'"),
        ({"prompts": ["word " * 1_000_000]}, "a prompt has 5000000 characters\n  -> .* 20000"),
        ({"negative_prompts": ["x" * 30_000]}, "a prompt has 30000 characters"),
        ({"prompts": ["\ud800"]}, "a prompt holds half of a character"),
    ],
)
def test_what_the_host_cannot_draw_is_refused_in_a_sentence(
    laboratory: Laboratory, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(LycorisExtError, match=said):
        plan(laboratory, **more)


def test_a_host_without_schedulers_says_what_to_do_instead(
    laboratory: Laboratory, host: FakeHost
) -> None:
    host.has_schedulers = False
    with pytest.raises(LycorisExtError, match=r"no such setting\n  -> take a sampler that has it"):
        plan(laboratory, scheduler="Karras")
    assert plan(laboratory).rows[0].settings.extra == ()


@pytest.mark.parametrize("text", ["a --big-- cat", "x --nice", "a -- b", "a--n b"])
def test_dashes_that_are_no_option_are_text(laboratory: Laboratory, text: str) -> None:
    assert plan(laboratory, prompts=[text]).rows[0].test.prompt == text
    found = plan(laboratory, prompts=[f"{text} --N rain, --dark-- sky"]).rows[0].test
    assert (found.prompt, found.negative_prompt) == (text, "rain, --dark-- sky")
