"""`lycoris-ext info`: what it prints of sound files, and which damaged files it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from lycoris_ext.cli.info import describe, main, summarize
from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats import AdapterState, save_adapter
from lycoris_ext.network import NetworkConfig, build_network
from tests.stand_ins import stand_in


@pytest.fixture
def adapter(tmp_path):
    model = nn.Sequential(nn.Linear(12, 10), nn.Conv2d(4, 6, 3))
    network = build_network({"model": model}, NetworkConfig(algo="loha", conv_dim=4))
    metadata = {
        "ss_output_name": "my style",
        "ss_learning_rate": "0.0002",
        "ss_tag_frequency": json.dumps({"10_cats": {"by fluent": 20, "cat": 19, "red": 3}}),
        "ss_dataset_dirs": json.dumps({"10_cats": {"n_repeats": 10, "img_count": 20}}),
        "ss_unet_lr": "None",
        "other": "x" * 200,
    }
    path = tmp_path / "style.safetensors"
    save_adapter(path, network.adapter_state(metadata))
    return path


def test_a_summary_holds_algorithm_ranks_sizes_hash_and_trigger_words(adapter):
    summary = summarize(adapter)
    assert summary.algorithms == ("loha",)
    assert {(group.rank, group.alpha, group.modules) for group in summary.layers} == {
        (8, 1.0, 1),
        (4, 1.0, 1),
    }
    assert summary.modules == {"model": 2}
    assert summary.parameters == 2 * 8 * (12 + 10) + 2 * 4 * (6 + 4 * 9)
    assert summary.bytes == adapter.stat().st_size
    assert summary.dtypes == ("float16",)
    assert summary.hash.agrees is True
    assert summary.triggers == ("by fluent", "cat")


def test_info_prints_a_table_without_unset_fields_and_cuts_values_only_in_a_terminal(
    adapter, capsys
):
    assert main([str(adapter)]) == 0
    assert "x" * 200 in capsys.readouterr().out
    output = "\n".join(describe(summarize(adapter), 88))
    for part in ("rank 4, alpha 1: 1 module", "learning rate", "0.0002", "by fluent, cat", "..."):
        assert part in output
    assert "U-Net rate" not in output
    assert max(map(len, output.splitlines()[1:])) < 130


def test_info_as_json_holds_the_whole_metadata(adapter, capsys):
    assert main([str(adapter), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["hash"]["agrees"] is True
    assert summary["metadata"]["other"] == "x" * 200


def test_a_file_with_convolutions_is_called_locon(tmp_path):
    model = nn.Sequential(nn.Linear(12, 10), nn.Conv2d(4, 6, 3))
    network = build_network({"model": model}, NetworkConfig(algo="locon", conv_dim=4))
    save_adapter(tmp_path / "a.safetensors", network.adapter_state())
    assert summarize(tmp_path / "a.safetensors").algorithms == ("locon",)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"algo": "loha", "dora_wd": True}, "loha, rank 2, alpha 1, dora_wd: 1 module"),
        (
            {"algo": "lora", "dora_wd": True, "wd_on_output": True},
            "lora, rank 2, alpha 1, dora_wd, wd_on_output: 1 module",
        ),
        ({"algo": "ia3"}, "ia3: 1 module"),
        ({"algo": "ia3", "train_on_input": True}, "ia3, train_on_input: 1 module"),
        (
            {"algo": "diag-oft", "constraint": 0.05, "rescaled": True},
            "diag-oft, constraint 0.05, rescaled: 1 module",
        ),
        ({"algo": "boft"}, "boft: 1 module"),
    ],
)
def test_info_names_the_form_of_the_algorithm(tmp_path, capsys, options, line):
    model = nn.Sequential(nn.Linear(12, 8))
    network = build_network({"model": model}, NetworkConfig(network_dim=2, **options))
    save_adapter(tmp_path / "a.safetensors", network.adapter_state())
    main([str(tmp_path / "a.safetensors")])
    assert line in capsys.readouterr().out


def test_info_names_dylora_where_the_metadata_say_so(tmp_path, capsys):
    network = build_network({"model": nn.Sequential(nn.Linear(12, 8))}, NetworkConfig(algo="lora"))
    arguments = {"algo": "dylora", "block_size": 2, "conv_dim": None}
    for told in (json.dumps(arguments), json.dumps({"algo": "lora", "block_size": 2}), "[]"):
        metadata = {"ss_network_args": told}
        save_adapter(tmp_path / "a.safetensors", network.adapter_state(metadata))
        main([str(tmp_path / "a.safetensors")])
        assert ("dylora, block_size 2\n" in capsys.readouterr().out) == ("dylora" in told)


def test_info_says_that_tensors_were_changed_after_saving(adapter, capsys):
    state = {key: value + 1 for key, value in safetensors.torch.load_file(adapter).items()}
    metadata = {"sshs_model_hash": "0" * 64, "ss_comment": "\x1b[31mred"}
    safetensors.torch.save_file(state, adapter, metadata)
    assert main([str(adapter)]) == 0
    output = capsys.readouterr().out
    assert "000000000000 is stored: the tensors were changed after saving" in output
    assert "\x1b" not in output


def test_a_file_without_hash_and_alpha_is_summarised(tmp_path):
    tensors = {"lora_unet_a.lora_up.weight": torch.ones(4, 2)}
    tensors["lora_unet_a.lora_down.weight"] = torch.ones(2, 3)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    summary = summarize(tmp_path / "a.safetensors")
    assert summary.hash.agrees is None
    assert summary.modules == {"unet": 1}
    assert (summary.layers[0].rank, summary.layers[0].alpha) == (2, 2.0)


def test_info_refuses_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        main([str(tmp_path / "none.safetensors")])


def test_info_refuses_a_truncated_file_by_name(adapter):
    adapter.write_bytes(adapter.read_bytes()[:-10])
    with pytest.raises(FormatError, match=r"style.safetensors"):
        main([str(adapter)])


def test_info_names_the_layer_whose_shapes_contradict(tmp_path):
    tensors = {"lora_unet_a.lora_up.weight": torch.ones(4, 2)}
    tensors["lora_unet_a.lora_down.weight"] = torch.ones(3, 3)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="lora_unet_a"):
        summarize(tmp_path / "a.safetensors")


def test_a_peft_file_is_summarised_with_the_config_beside_it(tmp_path, capsys):
    start = "base_model.model.down_blocks.0.attentions.0.proj_in"
    tensors = {
        f"{start}.lora_A.weight": torch.ones(2, 3),
        f"{start}.lora_B.weight": torch.ones(4, 2),
    }
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16, "r": 2}))
    summary = summarize(tmp_path / "adapter_model.safetensors")
    assert (summary.keys, summary.modules, summary.algorithms) == (
        ("PEFT",),
        {"unet": 1},
        ("lora",),
    )
    assert (summary.layers[0].rank, summary.layers[0].alpha) == (2, 16.0)
    told = "AUTOMATIC1111 leaves out all layers, whose names it does not know, without a word"
    assert told in summary.misread_by
    main([str(tmp_path / "adapter_model.safetensors")])
    output = capsys.readouterr().out
    assert "PEFT" in output and "ComfyUI leaves out all layers" in output


@pytest.mark.parametrize(
    ("algo", "tucker", "sdxl", "hosts"),
    [
        ("locon", False, False, set()),
        ("locon", True, False, {"sd-scripts'", "diffusers"}),
        ("loha", False, False, {"sd-scripts'", "diffusers"}),
        ("loha", False, True, {"sd-scripts'", "diffusers", "AUTOMATIC1111"}),
    ],
)
def test_info_names_the_hosts_that_would_misread_a_file(tmp_path, algo, tucker, sdxl, hosts):
    config = NetworkConfig(algo=algo, use_tucker=tucker, conv_dim=2, include=("",))
    network = build_network(stand_in("sdxl" if sdxl else "sd"), config)
    save_adapter(tmp_path / "a.safetensors", network.adapter_state())
    told = summarize(tmp_path / "a.safetensors").misread_by
    assert {line.split()[0] for line in told} - {"sd-scripts'"} == hosts - {"sd-scripts'"}
    said = {"ss_base_model_version": "sdxl_base_v1-0" if sdxl else "sd_v1"}
    save_adapter(tmp_path / "a.safetensors", network.adapter_state(said))
    told = summarize(tmp_path / "a.safetensors").misread_by
    # networks.lora adapts no layers before the first block or after the last one.
    assert {line.split()[0] for line in told} == hosts - {"AUTOMATIC1111"} | {"sd-scripts'"}


WEBUI, COMFYUI, DIFFUSERS = "AUTOMATIC1111", "ComfyUI", "diffusers"

UNET_LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


def written(key_of, count=1):
    """Return the tensors of LoRAs of attention layers and of as many projections."""
    tensors = {}
    for number in range(count):
        for layer in (UNET_LAYER, "mid_block.attentions.0.proj_in"):
            for end, shape in (("down", (4, 768)), ("up", (320, 4))):
                tensors[key_of(layer.replace("0", str(number)), end)] = torch.ones(shape)
    return tensors


@pytest.mark.parametrize(
    ("key_of", "lines"),
    [
        (
            lambda layer, end: f"unet.{layer}.lora.{end}.weight",
            {
                (
                    "ComfyUI leaves out 1 of 2 layers (the attention projections of the U-Net), "
                    "with a line in its log for each tensor"
                ),
                "Forge leaves out 2 tensors, with a line in its console",
                "AUTOMATIC1111 leaves out all layers, whose names it does not know, without a word",
            },
        ),
        (
            lambda layer, end: f"unet.{layer}_lora.{end}.weight".replace(".to_", ".processor.to_"),
            set(),
        ),
        (
            lambda layer, end: f"diffusion_model.{layer}.lora_{end}.weight",
            {"AUTOMATIC1111 fails on the whole file, with an error in its console"},
        ),
        (
            lambda layer, end: f"lora_unet_{layer.replace('.', '_')}.lora_{end}.weight",
            set(),
        ),
    ],
)
def test_info_says_what_hosts_do_with_a_naming(tmp_path, key_of, lines):
    safetensors.torch.save_file(written(key_of), tmp_path / "a.safetensors")
    told = summarize(tmp_path / "a.safetensors").misread_by
    assert lines <= set(told)
    for host in (COMFYUI, "Forge"):
        assert any(line.startswith(host) for line in told) == any(host in line for line in lines)


@pytest.mark.parametrize(
    "key_of",
    [
        lambda layer, end: f"lora_unet_{layer.replace('.', '_')}.lora_{end}.weight",
        lambda layer, end: f"unet.{layer}.lora.{end}.weight",
        lambda layer, end: f"diffusion_model.{layer}.lora_{end}.weight",
    ],
)
def test_bundled_embeddings_change_neither_the_naming_nor_what_hosts_leave(tmp_path, key_of):
    words = {f"bundle_emb.mytok.{encoder}": torch.ones(2, 8) for encoder in ("clip_l", "clip_g")}
    bare, bundled = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    safetensors.torch.save_file(written(key_of), bare)
    safetensors.torch.save_file(written(key_of) | words, bundled)
    expected, found = summarize(bare), summarize(bundled)
    assert (found.keys, found.misread_by) == (expected.keys, expected.misread_by)
    assert len(found.keys) == 1 and found.embeddings == ("mytok",)


def test_notes_on_hosts_are_printed_whole(tmp_path, capsys):
    tensors = written(lambda layer, end: f"unet.{layer}.lora.{end}.weight", 7)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    summary = summarize(tmp_path / "a.safetensors")
    main([str(tmp_path / "a.safetensors")])
    printed = capsys.readouterr().out
    assert "..." not in printed and all(line in printed for line in summary.misread_by)
    on_a_terminal = describe(summary, 88)
    assert max(map(len, on_a_terminal[1:])) < 130
    for line in summary.misread_by:
        assert line in " ".join(" ".join(on_a_terminal).split())


def test_what_was_not_measured_of_flux_is_not_said(tmp_path):
    layer = "diffusion_model.double_blocks.0.img_attn.qkv"
    tensors = {
        f"{layer}.lora_A.weight": torch.ones(2, 8),
        f"{layer}.lora_B.weight": torch.ones(8, 2),
    }
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    assert summarize(tmp_path / "a.safetensors").misread_by == ()
    peft = {key.replace("diffusion_model.", "base_model.model."): t for key, t in tensors.items()}
    safetensors.torch.save_file(peft, tmp_path / "a.safetensors")
    (line,) = summarize(tmp_path / "a.safetensors").misread_by
    assert line.startswith("ComfyUI leaves out all layers")


def test_forge_leaves_a_whole_file_with_many_tensors_that_have_no_place(tmp_path):
    tensors = written(lambda layer, end: f"unet.{layer}.lora.{end}.weight", 7)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    told = summarize(tmp_path / "a.safetensors").misread_by
    assert any(line.startswith("Forge leaves out the whole file") for line in told)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"algo": "lora", "dora_wd": True}, {WEBUI: "lengths", DIFFUSERS: "lengths"}),
        (
            {"algo": "lora", "dora_wd": True, "wd_on_output": True},
            {WEBUI: "lengths", COMFYUI: "not of W + d", DIFFUSERS: "lengths"},
        ),
        ({"algo": "ia3"}, {WEBUI: "outputs of conv", COMFYUI: "knows no", DIFFUSERS: "knows no"}),
        ({"algo": "ia3", "train_on_input": True}, {COMFYUI: "knows no", DIFFUSERS: "knows no"}),
        ({"algo": "diag-oft"}, {COMFYUI: "strength twice", DIFFUSERS: "knows no"}),
        ({"algo": "diag-oft", "constraint": 0.1}, {COMFYUI: "turns too little"}),
        ({"algo": "diag-oft", "rescaled": True}, {COMFYUI: "leaves out the lengths"}),
        ({"algo": "boft", "rescaled": True}, {COMFYUI: "by other angles", DIFFUSERS: "knows no"}),
        ({"algo": "glora"}, {WEBUI: "older GLoRA", DIFFUSERS: "knows no"}),
        ({"algo": "full"}, {DIFFUSERS: "knows no"}),
        ({"algo": "tlora"}, {WEBUI: "T-LoRA", COMFYUI: "T-LoRA", DIFFUSERS: "T-LoRA"}),
    ],
)
def test_info_says_how_each_host_misreads_an_algorithm(tmp_path, options, lines):
    model = nn.Sequential(nn.Linear(12, 8))
    network = build_network({"model": model}, NetworkConfig(network_dim=2, **options))
    state = network.adapter_state()
    tensors = {key.replace("lycoris_", "lora_unet_"): t for key, t in state.tensors.items()}
    save_adapter(tmp_path / "a.safetensors", AdapterState(tensors))
    told = summarize(tmp_path / "a.safetensors").misread_by
    assert any(line.startswith("sd-scripts'") for line in told) == (options["algo"] != "norm")
    if "constraint" not in options and "rescaled" not in options:
        assert {host for host in (WEBUI, COMFYUI, DIFFUSERS) if host in " ".join(told)} == {*lines}
    for host, words in lines.items():
        assert any(line.startswith(host) and words in line for line in told), (host, told)


@pytest.mark.parametrize(
    ("layer", "options", "line"),
    [
        (
            nn.Conv1d(3, 4, 3),
            {"use_tucker": True, "conv_dim": 2},
            "ComfyUI fails on Tucker cores of Conv1d and Conv3d",
        ),
        (
            nn.Conv1d(4, 4, 3),
            {"algo": "lokr", "full_matrix": True},
            "ComfyUI builds other weights from a LoKr of Conv1d and Conv3d",
        ),
        (
            nn.LayerNorm(4, bias=False),
            {"algo": "norm"},
            "AUTOMATIC1111 fails on the whole file: normalisations must have a bias",
        ),
    ],
)
def test_info_warns_of_kinds_of_layers_that_a_host_misreads_and_of_no_others(
    tmp_path, layer, options, line
):
    network = build_network({"m": nn.Sequential(layer)}, NetworkConfig(**options))
    save_adapter(tmp_path / "a.safetensors", network.adapter_state())
    assert line in summarize(tmp_path / "a.safetensors").misread_by
    square = nn.GroupNorm(2, 4) if isinstance(layer, nn.LayerNorm) else nn.Conv2d(4, 4, 3)
    network = build_network({"m": nn.Sequential(square)}, NetworkConfig(**options))
    save_adapter(tmp_path / "a.safetensors", network.adapter_state())
    assert line not in summarize(tmp_path / "a.safetensors").misread_by


def test_a_hash_of_lycoris_loras_own_kind_is_not_compared(adapter, capsys):
    state = safetensors.torch.load_file(adapter)
    safetensors.torch.save_file(state, adapter, {"sshs_model_hash": "0x" + "1" * 64})
    assert summarize(adapter).hash.agrees is None
    main([str(adapter)])
    assert "one of lycoris-lora's own kind is stored" in capsys.readouterr().out


def test_info_runs_without_the_packages_of_the_extra_train(adapter):
    blocked = ["diffusers", "transformers", "accelerate", "bitsandbytes", "tyro", "tqdm"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        f"from lycoris_ext.cli.info import main; sys.exit(main([{str(adapter)!r}]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert result.returncode == 0, result.stderr
