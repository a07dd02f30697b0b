"""`lycoris-ext doctor`: what is found, what is missing, and whether training can start."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from lycoris_ext import cli
from lycoris_ext.cli import doctor
from lycoris_ext.hosts.find import find_hosts, host_of


@pytest.fixture
def report(monkeypatch, tmp_path, capsys):
    """Run doctor in an empty folder; returns its exit code and its checks by name."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        code = cli.main(["doctor", "--json", *map(str, arguments)])
        told = json.loads(capsys.readouterr().out)
        assert told["ready"] is (code == 0)
        return code, {check["name"]: check for check in told["checks"]}

    return call


def config(tmp_path, **options):
    path = tmp_path / "my.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_doctor_exits_0_where_everything_works(report):
    code, checks = report()
    assert code == 0
    assert checks["torch"]["found"] == torch.__version__
    assert checks["optimizer AdamW8bit"]["found"] == "a step works"
    assert "GB free at" in checks["disk"]["found"]
    assert checks["device"]["state"] == "ok"


def test_doctor_prints_a_line_for_each_check_and_a_verdict(capsys):
    assert cli.main(["doctor"]) in (0, 4)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok      torch: ") for line in lines)
    assert lines[-1] in ("training can start", "training cannot start yet")


def without(monkeypatch, *missing):
    real = doctor.version

    def version(name):
        if name in missing:
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)


def test_a_missing_package_is_an_error_only_where_training_needs_it(report, monkeypatch):
    without(monkeypatch, "diffusers", "tensorboard")
    code, checks = report()
    assert code == 4
    assert checks["diffusers"]["state"] == "error"
    assert checks["diffusers"]["fix"].startswith("pip install ")
    assert "[train]" in checks["diffusers"]["fix"]
    assert checks["tensorboard"]["state"] == "note"
    assert "log_with" in checks["tensorboard"]["found"]


def test_a_version_with_a_hole_that_files_can_reach_is_a_note(report, monkeypatch):
    installed = {"pillow": "9.5.0", "transformers": "4.57.1", "torch": "2.1.2"}
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: installed.get(name) or real(name))
    code, checks = report()
    notes = {name: check for name, check in checks.items() if "CVE" in check["found"]}
    assert code == 0 and {note["state"] for note in notes.values()} == {"note"}
    assert sorted(notes) == ["pillow <10.0.1", "transformers >=4.56,<5.3"]
    assert "9.5.0 has a known hole: a WebP picture" in notes["pillow <10.0.1"]["found"]
    assert notes["pillow <10.0.1"]["fix"].startswith("pip install -U pillow")


def test_without_torch_doctor_still_checks_the_rest(report, monkeypatch):
    without(monkeypatch, "torch")
    code, checks = report()
    assert code == 4
    assert "hosts" in checks and "device" not in checks


def test_a_missing_bitsandbytes_stops_only_configs_that_use_it(
    report, monkeypatch, tmp_path, pictures
):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    code, checks = report()
    assert code == 4
    assert "bitsandbytes cannot be imported" in checks["optimizer AdamW8bit"]["found"]
    assert 'optimizer_type = "AdamW"' in checks["optimizer AdamW8bit"]["fix"]
    places = {"train_data_dir": str(pictures)}
    code, checks = report(config(tmp_path, optimizer_type="AdamW", **places))
    assert (code, checks["optimizer AdamW8bit"]["state"]) == (0, "note")
    assert checks["optimizer AdamW"]["found"] == "a step works"


def test_an_8_bit_step_that_fails_or_changes_nothing_is_an_error(report, monkeypatch):
    from lycoris_ext.training import step

    def fail(*_):
        raise RuntimeError("no kernel image\nmore")

    monkeypatch.setattr(step, "optimizer_step", fail)
    code, checks = report()
    assert code == 4
    assert checks["optimizer AdamW8bit"]["found"] == "a step fails (no kernel image)"
    monkeypatch.setattr(step, "optimizer_step", lambda *_: None)
    code, checks = report()
    assert code == 4 and "a step changes nothing" in checks["optimizer AdamW8bit"]["found"]


def test_doctor_checks_the_device_the_base_and_the_pictures_of_a_config(
    report, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = config(
        tmp_path,
        device="cuda",
        pretrained_model_name_or_path="not/there",
        image_dir=str(tmp_path),
        optimizer_type="AdamW",
    )
    code, checks = report(path)
    assert code == 4
    assert checks["device"]["state"] == "error" and "finds no GPU" in checks["device"]["found"]
    assert checks["not/there"]["found"].startswith("there is no such folder")
    assert checks["LX005"]["state"] == "error"  # no picture lies in image_dir
    code, checks = report(tmp_path / "none.toml")
    assert code == 4
    assert checks[str(tmp_path / "none.toml")]["found"] == "there is no such file"


def test_doctor_lists_what_is_wrong_with_the_pictures_of_a_config(report, tmp_path, pictures):
    (pictures / "2_shapes" / "03.txt").unlink()
    (pictures / "0_off").mkdir()
    places = {"train_data_dir": str(pictures), "reg_data_dir": str(tmp_path / "none")}
    code, checks = report(config(tmp_path, optimizer_type="AdamW", **places))
    assert code == 4
    assert checks["LX001"]["found"] == f"the folder does not exist: {tmp_path / 'none'}"
    assert "1 of 6 pictures has no caption" in checks["LX009"]["found"]
    assert "caption" in checks["LX009"]["fix"]
    assert (checks["LX006"]["state"], checks["LX009"]["state"]) == ("note", "error")


def test_a_full_disk_or_a_file_in_the_way_of_output_dir_is_an_error(
    report, monkeypatch, tmp_path, pictures
):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    options = {"train_data_dir": str(pictures), "optimizer_type": "AdamW"}
    out = tmp_path / "file" / "out"
    code, checks = report(config(tmp_path, **options, output_dir=str(out)))
    assert code == 4
    assert "cannot be made in" in checks[f"output_dir {out}"]["found"]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    code, checks = report(config(tmp_path, **options))
    assert code == 4 and checks["disk"]["state"] == "note"
    assert checks["output"]["found"].startswith("1.00 MB are free, and this run writes ")


def make(folder, *names):
    for name in names:
        path = folder / name
        if "." in path.name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")
        else:
            path.mkdir(parents=True)


def test_doctor_finds_hosts_nearby_and_those_named_with_host(report, tmp_path):
    make(tmp_path / "kohya", "train_network.py", "library/train_util.py", "networks")
    make(tmp_path / "ui", "nodes.py", "folder_paths.py", "comfy")
    make(tmp_path / "far" / "away" / "a1111", "webui.py", "modules/shared.py")
    make(tmp_path / "far" / "away" / "forge", "webui.py", "modules/shared.py", "modules_forge")
    assert host_of(tmp_path) is None
    assert [host for host, _ in find_hosts(tmp_path / "kohya" / "networks")] == [
        "sd-scripts",
        "ComfyUI",
    ]
    away = tmp_path / "far" / "away"
    code, checks = report("--host", away / "a1111", "--host", away / "forge", "--host", away)
    assert code == 0
    assert checks["AUTOMATIC1111"]["found"] == str((away / "a1111").resolve())
    assert checks["Forge"]["found"] == str((away / "forge").resolve())
    assert checks["sd-scripts"]["found"] == str((tmp_path / "kohya").resolve())
    assert checks[str(away)]["found"] == "this is no host's folder"


def test_fix_rewrites_the_captions_of_a_folder_or_config_and_says_what_it_kept(
    report, pictures, tmp_path
):
    folder = pictures / "2_shapes"
    (folder / "00.txt").write_bytes("1girl, 初音ミク".encode("cp932"))
    (folder / "01.txt").write_bytes("高达".encode("gbk"))
    code, checks = report(pictures)
    assert code == 4 and "may be simplified Chinese (GBK) or" in checks["LX010"]["found"]
    code, checks = report(pictures, "--fix")
    assert code == 4 and checks[str(folder / "01.txt")]["state"] == "error"
    told = checks[str(folder / "00.txt")]
    assert told["state"] == "ok" and told["found"].endswith("kept as 00.txt.cp932.bak")
    file = config(tmp_path, train_data_dir=str(pictures), resolution=32)
    code, checks = report(file, "--fix", "--encoding", "gbk")
    assert code == 0 and "LX010" not in checks
    assert (folder / "01.txt").read_text("utf-8") == "高达"


def test_fix_without_a_folder_or_config_says_what_it_wants(capsys):
    assert cli.main(["doctor", "--fix"]) == 2
    assert "name your config, or the folder of pictures" in capsys.readouterr().err


def test_doctor_leaves_out_what_train_leaves_out(report, tmp_path, pictures):
    path = config(
        tmp_path,
        network_module="networks.lora",
        optimizer_type="Adafactor",
        fp8_base=True,
        pretrained_model_name_or_path="mini",
        train_data_dir=str(pictures),
        caption_extension=".txt",
    )
    code, checks = report(path)
    assert code == 4 and "--skip-unsupported leaves out" in checks["config"]["fix"]
    code, checks = report(path, "--skip-unsupported")
    assert code == 0
    assert "left out: " in checks[str(path)]["found"] and checks[str(path)]["state"] == "note"


def test_doctor_counts_the_pictures_that_a_config_holds_out(report, tiny_base, pictures, tmp_path):
    options = {"train_data_dir": str(pictures), "resolution": 32, "validation_split": 0.5}
    base = {"pretrained_model_name_or_path": str(tiny_base), "network_dim": 4}
    _, checks = report(config(tmp_path, **options, **base))
    assert checks["validation"]["found"] == "3 pictures are held out"
