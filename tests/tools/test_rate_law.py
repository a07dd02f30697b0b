"""The law of alpha and the learning rate on a real U-Net: both settings train the same updates."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from lycoris_ext.cli import lr_equiv
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.network import NetworkConfig, build_network
from lycoris_ext.network.build import plan_layers
from lycoris_ext.tools.rate_law import compare

STEPS, RATE, DECAY, EPS, NORM = 5, 1e-3, 0.1, 1e-6, 0.5
FORMS = {
    "lora": ({"algo": "lora"}, {2}),
    "locon": ({"algo": "locon", "conv_dim": 2}, {2}),
    "locon with core": ({"algo": "locon", "conv_dim": 2, "use_tucker": True}, {2, 3}),
    "loha": ({"algo": "loha"}, {4}),
    "loha with core": ({"algo": "loha", "use_tucker": True}, {4, 6}),
    "lokr": ({"algo": "lokr", "network_dim": 2, "factor": 2}, {3}),
    "lokr of products": ({"algo": "lokr", "network_dim": 1, "decompose_both": True}, {3, 4}),
    "lora with scalar": ({"algo": "lora", "use_scalar": True}, {3}),
}


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    with quiet_loading():
        made = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=12,
            attention_head_dim=2,
            norm_num_groups=4,
        )
    return made.double().requires_grad_(False)


def _config(alpha, options):
    sizes = {"network_dim": 4, "conv_alpha": alpha, **options}
    return NetworkConfig(network_alpha=alpha, **sizes)


def _updates(unet, config, factors, *, scaled, clip=True):
    """Train a perturbed adapter; return the updates of all layers and the loss after each step.

    Args:
        factors: key of a layer -> the number of the law, by which rate and factors are multiplied.
        scaled: whether weight decay and eps are divided by it.
        clip: clip the gradient; the law's limit is that of the first layer.
    """
    network = build_network({"unet": unet}, config, warn=False).double()
    generator = torch.Generator().manual_seed(1)
    groups = []
    for key, layer in network.layers.items():
        by = factors[key]
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.add_(noise, alpha=0.3).mul_(by)
        share = by if scaled else 1.0
        groups.append(
            {
                "params": list(layer.parameters()),
                "lr": RATE * by,
                "weight_decay": DECAY / share,
                "eps": EPS / share,
            }
        )
    optimizer = torch.optim.AdamW(groups)
    limit = NORM / next(iter(factors.values()))
    found = []
    with network.injected():
        for step in range(STEPS):
            noise = torch.Generator().manual_seed(step)
            x, text, target = (
                torch.randn(shape, generator=noise, dtype=torch.float64)
                for shape in ((1, 4, 4, 4), (1, 3, 12), (1, 4, 4, 4))
            )
            loss = (unet(x, 100 * step, text).sample - target).square().mean()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.detach())
    updates = [layer.delta().dense().detach().flatten() for layer in network.layers.values()]
    return torch.cat(updates), torch.stack(found)


def _law(unet, before, after):
    groups, apart = compare(plan_layers({"unet": unet}, before), plan_layers({"unet": unet}, after))
    assert apart == 0 and all(group.exact for group in groups)
    return groups


def _by_layer(unet, before, after):
    """Return key of a layer -> the number of the law for it."""
    planned = zip(
        plan_layers({"unet": unet}, before), plan_layers({"unet": unet}, after), strict=True
    )
    found = {}
    for pair in planned:
        (group,) = compare([pair[0]], [pair[1]])[0]
        found[pair[0][0].site.key] = group.factor
    return found


@pytest.mark.parametrize("form", FORMS)
def test_rate_and_factors_of_the_law_train_the_same_updates(form, unet):
    options, numbers = FORMS[form]
    before, after = _config(2.0, options), _config(0.125, options)
    groups = _law(unet, before, after)
    of_layers = _by_layer(unet, before, after)
    found = {g.before.factors for g in groups if g.before.plan.has_rank}
    assert found == numbers
    for group in groups:
        if group.before.plan.has_rank:
            assert group.factor == pytest.approx(16 ** (1 / group.before.factors))
    clip = len(set(of_layers.values())) == 1  # one norm for all, and so one number for all
    ones = dict.fromkeys(of_layers, 1.0)
    updates, losses = _updates(unet, before, ones, scaled=False, clip=clip)
    same, same_losses = _updates(unet, after, of_layers, scaled=True, clip=clip)
    assert (same - updates).norm() <= 1e-6 * updates.norm()
    assert (same_losses - losses).abs().max() <= 1e-6 * losses.max()
    # The law is what makes them equal: without its number they differ.
    other, _ = _updates(unet, after, ones, scaled=False, clip=clip)
    assert (other - updates).norm() > 0.1 * updates.norm()


def _compared(unet, before, after):
    return compare(
        plan_layers({"unet": unet}, NetworkConfig(**before)),
        plan_layers({"unet": unet}, NetworkConfig(**after)),
    )[0]


def test_for_one_rank_the_first_steps_follow_the_scale_alone(unet):
    for group in _compared(unet, {"network_alpha": 4.0}, {"network_alpha": 1.0}):
        assert group.first == pytest.approx(4, rel=1e-4)
        assert group.factor == pytest.approx(2**0.5)


def test_for_another_rank_only_the_first_steps_are_compared(unet):
    lora = {"algo": "lora", "network_alpha": 4.0}
    for group in _compared(unet, {**lora, "network_dim": 4}, {**lora, "network_dim": 16}):
        # Each rank adds as much to the first step, and alpha / rank takes it back.
        assert group.factor is None and group.first == pytest.approx(1, rel=0.3)
        assert "another rank" in group.why


@pytest.mark.parametrize("algo", ["tlora", "glora"])
def test_the_law_says_nothing_of_updates_that_are_no_product(algo, unet):
    for group in _compared(unet, {"algo": algo}, {"algo": algo, "network_alpha": 3.0}):
        assert group.factor is None and group.first is None and group.why


def test_dora_is_said_to_be_approximate(unet):
    options = {"algo": "lora", "dora_wd": True}
    for group in _compared(unet, options, {**options, "network_alpha": 4.0}):
        assert group.factor == pytest.approx(0.5) and not group.exact and "DoRA" in group.why


@pytest.fixture
def small(monkeypatch, unet):
    monkeypatch.setattr(lr_equiv, "build_meta", lambda family: {"unet": unet})


def _answer(capsys, before, after):
    assert lr_equiv.main(["--from", before, "--to", after, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_converts_a_rate(small, capsys):
    half = "loha dim 4 conv_dim 2 alpha 16 conv_alpha 8 lr 2e-4"
    told = _answer(capsys, half, "alpha=1, conv_alpha=0.5 lr=5e-4")
    assert told["rates"]["learning_rate"]["after"] == pytest.approx(4e-4)
    assert told["rates"]["learning_rate"]["first_steps"] == pytest.approx(32e-4)
    assert told["given"] == 5e-4 and all(group["exact"] for group in told["groups"])
    assert lr_equiv.main(["--from", half, "--to", "alpha 1 conv_alpha 0.5"]) == 0
    assert "learning_rate 0.0002 -> 0.0004 by the law" in capsys.readouterr().out


def test_the_rate_of_each_kind_of_layers_is_told_where_one_does_not_fit_all(small, capsys):
    half = "loha dim 4 conv_dim 2 alpha 16 conv_alpha 16 lr 1e-4"
    assert lr_equiv.main(["--from", half, "--to", "alpha 1 conv_alpha 16"]) == 0
    told = capsys.readouterr().out
    assert "learning_rate 0.0001 -> 0.0002 by the law in Linear layers" in told
    assert "0.0001 by the law in convolutions 3x3" in told


def test_the_command_reads_two_configs(small, capsys, tmp_path):
    for name, alpha in (("a", 2.0), ("b", 8.0)):
        text = f'algo = "lora"\nnetwork_alpha = {alpha}\nunet_lr = 1e-4\noptimizer_type = "SGD"\n'
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    told = _answer(capsys, str(tmp_path / "a.toml"), str(tmp_path / "b.toml"))
    assert told["rates"]["unet_lr"]["after"] == pytest.approx(0.5e-4)
    assert any("square" in note for note in told["notes"])


def test_options_of_one_algorithm_are_not_taken_to_another(small, capsys):
    told = _answer(capsys, "lokr dim 2 factor 2 lr 1e-3", "lora")
    assert all(group["rate_factor"] is None and group["why"] for group in told["groups"])
    assert any("rule of thumb" in note for note in told["notes"])
