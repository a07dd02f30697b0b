"""Options of sd-scripts in scripts and command lines."""

from __future__ import annotations

import pytest

from lycoris_ext.config.imports import documents
from lycoris_ext.config.imports.documents import read_document
from lycoris_ext.errors import ConfigError
from tests.config.imports.reads import built, refusals, skipped, written

SH = r"""#!/bin/bash
# a script
MODEL="/models/my model.safetensors"   # the base
export RATE=1e-4
name='my lora'
accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 \
  "./sd-scripts/train_network.py" \
  --pretrained_model_name_or_path="$MODEL" --learning_rate ${RATE} \
  --network_module=networks.lora --network_args "conv_dim=4" 'conv_alpha=1' \
  --output_name "$name" --network-dim=8 --resolution 256,320 \
  --caption_separator " \"and\" " --xformers \
  --optimizer_type=AdamW --seed=5 && echo done
"""
BAT = r"""@echo off
rem a script
set MODEL=C:\models\base.safetensors
set "RATE=1e-4"
accelerate launch train_network.py ^
  --pretrained_model_name_or_path="%MODEL%" --learning_rate=%RATE% ^
  --network_module="networks.lora" --network_args "conv_dim=4" "conv_alpha=1" ^
  --output_name "my lora" --network_dim 8 --resolution="256,320" --xformers --seed 5
"""
PS1 = r"""# a script
$model = "C:\models\base.safetensors" # the base
$Env:RATE = "1e-4"
$parts = @()
accelerate launch .\train_network.py `
  --pretrained_model_name_or_path=$model --learning_rate $env:RATE `
  --network_module=networks.lora --network_args conv_dim=4 conv_alpha=1 `
  --output_name "my lora" --network_dim=8 --resolution=256,320 --xformers --seed=5
"""
PRINTED = (
    'accelerate launch --num_cpu_threads_per_process=2 "train_network.py" '
    '--pretrained_model_name_or_path="/m/base.safetensors" --learning_rate="1e-4" '
    "--network_module=networks.lora --network_args conv_dim=4 conv_alpha=1 "
    '--output_name="my lora" --network_dim=8 --resolution="256,320" --xformers --seed=5'
)


@pytest.mark.parametrize(
    ("name", "text", "model"),
    [("a.sh", SH, "/models/my model.safetensors"), ("a.bat", BAT, r"C:\models\base.safetensors"),
     ("a.ps1", PS1, r"C:\models\base.safetensors"), ("a.txt", PRINTED, "/m/base.safetensors")],
)  # fmt: skip
def test_a_command_is_read_with_its_quotes_continuations_and_variables(tmp_path, name, text, model):
    config = built(written(tmp_path, name, text))
    assert config.model.pretrained_model_name_or_path == model
    assert (config.network.network_dim, config.network.conv_dim) == (8, 4)
    assert (config.optimizer.learning_rate, config.run.seed) == (1e-4, 5)
    assert (config.run.output_name, config.data.size) == ("my lora", (256, 320))
    if name == "a.sh":
        assert config.data.caption_separator == ' "and" '


def test_lines_of_flags_that_lost_their_continuations_belong_to_the_command(tmp_path):
    text = "accelerate launch train_network.py\n --network_module=networks.lora\n --seed=5\n\n"
    assert built(written(tmp_path, "a.txt", text)).run.seed == 5
    assert (
        built(written(tmp_path, "b.txt", "--network_module networks.lora --seed 5")).run.seed == 5
    )


def test_flags_override_the_config_file_that_a_command_names(tmp_path):
    text = 'network_module = "networks.lora"\nseed = 1\nnetwork_dim = 6\n'
    written(tmp_path, "x.toml", text)
    path = written(tmp_path, "a.sh", "python train_network.py --config_file x --seed 5\n")
    config = built(path)
    assert (config.run.seed, config.network.network_dim) == (5, 6)


def test_what_a_script_decides_by_conditions_is_refused_and_named(tmp_path):
    text = (
        'low=1\nname="a"\nextra=()\nif [[ $low == 1 ]]; then extra+=("--lowram"); fi\n'
        'if [[ $low == 2 ]]; then\n  name="b"\nfi\n'
        "accelerate launch ${launch[@]} train_network.py --network_module=networks.lora "
        "--output_dir=$WHERE --output_name=$name ${extra[@]}\n"
    )
    path = written(tmp_path, "a.sh", text)
    (said,) = refusals(path)
    assert "--output_dir=$WHERE, ${extra[@]}, which the script does not set" in said
    assert "launch" not in said
    assert skipped(path)[0].run.output_name == "a"


def test_a_file_of_variables_is_a_document_of_their_names(tmp_path):
    text = "# some\nexport MODEL_TYPE='lora'\nSTEPS=30 # few\nEXTRA=\"--a --b\"\nNAME=$MODEL_TYPE\n"
    document = read_document(written(tmp_path, "config.env", text))
    assert document == {"MODEL_TYPE": "lora", "STEPS": "30", "EXTRA": "--a --b", "NAME": "lora"}


def test_a_script_that_trains_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no command that trains"):
        read_document(written(tmp_path, "a.sh", "echo hello\n"))


def test_a_script_in_the_encoding_of_its_system_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.bat"
    path.write_bytes("rem 訓練\r\npython train_network.py --output_name=絵\r\n".encode("cp932"))
    monkeypatch.setattr(documents, "getpreferredencoding", lambda _: "cp932")
    assert read_document(path)["output_name"] == "絵"
    path.write_bytes("python train_network.py --output_name=絵\r\n".encode("utf-16"))
    assert read_document(path)["output_name"] == "絵"


def test_a_script_in_the_encoding_of_another_country_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "getpreferredencoding", lambda _: "utf-8")
    path = tmp_path / "a.ps1"
    text = "# 使用 toml 文件指定训练参数\npython train_network.py --output_name=训练\n"
    path.write_bytes(text.encode("gbk"))
    assert read_document(path)["output_name"] == "训练"
    path.write_bytes(b"python train_network.py --output_name=\xff\xfe\x00\x81\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(path)


def test_defaults_of_variables_are_taken_where_the_script_sets_nothing_else(tmp_path):
    text = (
        'NAME="${NAME:-mine}"\nDIM=${1-8}\nexport SET=yes\n'
        "python train_network.py --network_module=networks.lora --output_name=$NAME "
        "--network_dim $DIM --seed=${SEED:-5} ${SET:+--max_train_steps 7} "
        "--gradient_checkpointing ${SWAP:+--blocks_to_swap 0}\n"
    )
    config = built(written(tmp_path, "a.sh", text))
    assert (config.run.output_name, config.network.network_dim) == ("mine", 8)
    assert (config.run.seed, config.run.max_train_steps) == (5, 7)
    assert config.run.gradient_checkpointing


@pytest.mark.parametrize(
    ("ending", "value"),
    [("sh", "$(dirname $0)/out"), ("sh", '"$(cat a b)"'), ("sh", "`pwd`/out"), ("sh", "$1"),
     ("sh", "${NAME%.*}"), ("bat", "%~dp0out"), ("bat", "%1"), ("ps1", "$($a.b)")],
)  # fmt: skip
def test_what_a_script_computes_is_not_taken_for_a_value(tmp_path, ending, value):
    text = f"python train_network.py --network_module=networks.lora --output_dir={value} --seed=5\n"
    path = written(tmp_path, f"a.{ending}", text)
    (said,) = refusals(path)
    assert "--output_dir=" in said and "write echo before its command" in said
    assert skipped(path)[0].run.seed == 5


def test_variables_that_may_hold_further_options_are_refused_alone(tmp_path):
    command = "python train_network.py --network_module=networks.lora --gradient_checkpointing "
    for name, more in (("a.sh", '"${more[@]}"'), ("b.sh", "$more"), ("c.ps1", "@more")):
        path = written(tmp_path, name, f"{command}{more} --output_dir $OUT --seed 5\n")
        (said,) = refusals(path)
        assert "more" in said and "$OUT" in said
        run = skipped(path)[0].run
        assert (run.gradient_checkpointing, run.output_dir, run.seed) == (True, "output", 5)


def test_a_caret_of_cmd_says_nothing(tmp_path):
    text = "python train_network.py --network_module=networks.lora --seed 5 ^--network_dim=4 ^\r\n"
    config = built(written(tmp_path, "a.bat", text + "  --max_train_steps 7\r\n"))
    assert (config.run.seed, config.network.network_dim, config.run.max_train_steps) == (5, 4, 7)


def test_what_echo_prints_of_a_command_is_read(tmp_path):
    printed = "accelerate launch ./scripts/train_network.py --network_args algo=loha conv_dim=4"
    for ending in (" ", "\n"):  # PowerShell prints a word a line
        text = (printed + " --network_module lycoris.kohya --seed 5").replace(" ", ending)
        config = built(written(tmp_path, "a.txt", text))
        assert (config.network.algo, config.network.conv_dim, config.run.seed) == ("loha", 4, 5)


@pytest.mark.parametrize(
    "behind",
    [
        " # the rank", "; echo done", " ; echo done", " && echo done", " || exit 1", " &",
        ' 2>&1 | tee "$LOGS/train.log"', " >log.txt 2>err.txt", " > log.txt", " &> log.txt",
    ],
)  # fmt: skip
def test_what_stands_behind_a_command_belongs_to_no_option(tmp_path, behind):
    text = "cd scripts && python train_network.py --network_module=networks.lora --network_dim=16"
    assert built(written(tmp_path, "a.sh", text + behind)).network.network_dim == 16


def test_signs_of_the_shell_in_quotes_are_values(tmp_path):
    text = """TAG="1girl #2; 3"  # the style
NAME=mine;
python train_network.py --network_module=networks.lora --training_comment "$TAG" \\
  --caption_separator ";" --secondary_separator '#' --keep_tokens_separator ||| \\
  --caption_prefix "> " --output_name=$NAME
"""
    config = built(written(tmp_path, "a.sh", text))
    data = config.data
    assert config.flat()["training_comment"] == "1girl #2; 3" and config.run.output_name == "mine"
    assert (data.caption_separator, data.secondary_separator) == (";", "#")
    assert (data.keep_tokens_separator, data.caption_prefix) == ("|||", "> ")


def test_a_comment_ends_its_own_line_alone(tmp_path):
    text = "--network_module=networks.lora\n--network_dim=16 # the rank\n--seed=5\n"
    config = built(written(tmp_path, "a.sh", text))
    assert (config.network.network_dim, config.run.seed) == (16, 5)
