"""`lycoris-ext doctor [FILE.toml]`: check what training needs, and say how to install the rest."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris_ext.cli.advisories import known_holes
from lycoris_ext.cli.exit_codes import DONE, EXIT_CODES
from lycoris_ext.cli.extra import install_line
from lycoris_ext.errors import ConfigError, EnvironmentFault, LycorisExtError
from lycoris_ext.files import expanded
from lycoris_ext.hosts.find import find_hosts, host_of
from lycoris_ext.printable import printable
from lycoris_ext.words import count, file_size

if TYPE_CHECKING:
    from lycoris_ext.config import Reading
    from lycoris_ext.data import Scan
    from lycoris_ext.data.findings import Finding
    from lycoris_ext.training.config import TrainConfig

NOT_READY = next(code for code, (kind, _) in EXIT_CODES.items() if kind is EnvironmentFault)

OK, NOTE, ERROR = "ok", "note", "error"

TRAIN_PACKAGES = (
    "torch",
    "safetensors",
    "pillow",
    "packaging",
    "diffusers",
    "transformers",
    "accelerate",
    "tyro",
    "tqdm",
)
OPTIONAL_PACKAGES = {"tensorboard": "log_with", "scipy": "the sampler LMS"}
"""Package -> the option that needs it; optimizers declare their packages themselves."""
USUAL_SPACE = 2**30
"""Bytes that a run of usual size writes."""


@dataclass(frozen=True)
class Check:
    """The result of checking one thing that training needs.

    Args:
        name: what was checked, such as a package.
        state: "ok", "note" (training works without it) or "error" (training cannot start).
        found: what was found, such as a version.
        fix: what the user can do; "" if nothing is needed.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all checks; return 0 if training can start, else the exit code of EnvironmentFault."""
    parser = argparse.ArgumentParser(
        prog="lycoris-ext doctor",
        description="Check whether everything that training needs is installed and works.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="a config of lycoris-ext train, or a folder of pictures (default: neither)",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="rewrite caption files that are not UTF-8, and keep each original beside the new file",
    )
    parser.add_argument(
        "--encoding",
        default="",
        help="for --fix: the encoding of these caption files, such as cp932 (default: guessed)",
    )
    parser.add_argument(
        "--skip-unsupported",
        action="store_true",
        help="leave out settings of another program's config that are not supported, as train does",
    )
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.add_argument(
        "--host",
        action="append",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="a folder of sd-scripts, ComfyUI, AUTOMATIC1111 or Forge; may be repeated",
    )
    options = parser.parse_args(arguments)
    if options.encoding and not options.fix:
        parser.error("--encoding is for --fix alone: add --fix")
    skip = options.skip_unsupported
    checks = list(_rewritten(options.file, options.encoding, skip)) if options.fix else []
    checks += examine(options.file, options.host, skip)
    ready = all(check.state != ERROR for check in checks)
    if options.json:
        report = {"ready": ready, "checks": [asdict(check) for check in checks]}
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        for check in checks:
            print(printable(f"{check.state:<8}{check.name}: {check.found}"))
            if check.fix:
                print(printable(f"{'':<8}-> {check.fix}"))
        print("training can start" if ready else "training cannot start yet")
    return DONE if ready else NOT_READY


def examine(
    file: Path | None = None, hosts: Sequence[Path] = (), skip_unsupported: bool = False
) -> Iterator[Check]:
    """Check everything that a run needs, and yield the results.

    Args:
        file: the run's config, or a folder of pictures; None checks for the default options.
        hosts: folders in which to look for hosts, besides those near the current folder.
        skip_unsupported: leave out what is not supported of another program's config.
    """
    yield Check("Python", OK, f"{platform.python_version()} on {platform.platform(terse=True)}")
    packages = [_package(name) for name in TRAIN_PACKAGES]
    yield from packages
    yield from (_package(name, use) for name, use in OPTIONAL_PACKAGES.items())
    for package in packages:
        if package.state == OK:
            yield from _holes(package.name, package.found)
    if packages[0].state == OK:
        found = _computing(file, skip_unsupported)
        yield from (check for check in found if check not in packages)
    yield from _hosts(hosts)


def _package(name: str, only_for: str = "") -> Check:
    try:
        return Check(name, OK, version(name))
    except PackageNotFoundError:
        if not only_for:
            return _absent(name)
        return Check(name, NOTE, f"not installed; only {only_for} needs it", f"pip install {name}")


def _holes(package: str, installed: str) -> Iterator[Check]:
    """Tell the known holes of an installed package that a file of a stranger can reach."""
    for hole in known_holes(package, installed):
        if hole.reached:
            found = f"{installed} has a known hole: {hole.what} ({hole.id})"
            fix = f"pip install -U {package}; until then open no files of strangers with it"
            yield Check(f"{package} {hole.affected}", NOTE, found, fix)


def _absent(package: str) -> Check:
    return Check(package, ERROR, "not installed", install_line())


def _computing(file: Path | None, skip_unsupported: bool) -> Iterator[Check]:
    """Check torch, device, optimizers and disk for a config, and its files if there is one."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", ERROR, f"cannot be imported ({error})", "install torch anew")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU alone"
    build = f"ROCm {torch.version.hip}" if getattr(torch.version, "hip", None) else build
    yield Check("torch's build", OK, build)
    from lycoris_ext.cli.configs import HINT
    from lycoris_ext.config import Reading

    reading = Reading(skip_unsupported)
    try:
        config = _config(file, reading)
    except LycorisExtError as error:
        yield from map(_missing, error.parts)
        if reading.refused and not skip_unsupported:
            yield Check("config", NOTE, "it is another program's", HINT)
        return
    for left in reading.left_out:
        yield Check(left.where or "config", NOTE, f"left out: {left.what}", left.fix or "")
    yield from (Check("config", NOTE, note) for note in reading.notes)
    machine = [
        _device(config.run.device),
        *_optimizers(config.run.device, config.optimizer.optimizer_type),
    ]
    yield from machine
    yield _disk(expanded(config.run.output_dir))
    if file is not None and file.is_dir():
        yield from _findings(_scan(config, open_pictures=True).findings)
    elif file is not None:
        told = {check.found for check in machine}
        yield from (check for check in _rehearsed(config) if check.found not in told)


def _config(file: Path | None, reading: Reading) -> TrainConfig:
    """Read a config, or make one for a folder of pictures; the default options for None."""
    from lycoris_ext.config import OptionSource, build_config, read_config
    from lycoris_ext.data.folders import options_for

    if file is None:
        return build_config([])
    if file.is_dir():
        return build_config([OptionSource(str(file), options_for(file))])
    return build_config([read_config(file)], reading)


def _rewritten(file: Path | None, encoding: str, skip_unsupported: bool) -> Iterator[Check]:
    """Rewrite the caption files of a config or folder that are not UTF-8."""
    from lycoris_ext.config import Reading
    from lycoris_ext.data import rewrite_captions

    if file is None:
        raise ConfigError(
            "--fix rewrites caption files, and no config or folder is given",
            where="lycoris-ext doctor",
            fix="name your config, or the folder of pictures",
        )
    config = _config(file, Reading(skip_unsupported))
    for done in rewrite_captions(_scan(config, open_pictures=False), encoding):
        if done.kept is None:
            yield Check(str(done.path), ERROR, f"it {done.says}", done.fix)
        else:
            found = f"it {done.says}, and is now UTF-8; the original is kept as {done.kept.name}"
            yield Check(str(done.path), OK, found)


def _rehearsed(config: TrainConfig) -> Iterator[Check]:
    """Check all that `train` would refuse this config for."""
    from lycoris_ext.training.rehearsal import rehearse

    found = rehearse(config)
    if found.held_out:
        number = count(found.held_out, "picture is", "pictures are")
        yield Check("validation", OK, f"{number} held out")
    yield from _findings(found.findings)
    yield from map(_missing, found.faults)
    if found.missing_package:
        yield _absent(found.missing_package)


def _scan(config: TrainConfig, *, open_pictures: bool) -> Scan:
    from lycoris_ext.data import examine
    from lycoris_ext.data.kept_checks import KeptChecks, measures_folder
    from lycoris_ext.sampling.progress import counting_pictures
    from lycoris_ext.training.token_limit import token_limit

    limit = token_limit(config.model)
    kept = KeptChecks(measures_folder(config.data) if open_pictures else None)
    return examine(
        config.data,
        partial(counting_pictures, "checking"),
        open_pictures=open_pictures,
        token_limit=limit,
        seed=config.run.seed,
        kept=kept,
    )


def _findings(findings: Iterable[Finding]) -> Iterator[Check]:
    for finding in findings:
        state = ERROR if finding.severity == "error" else NOTE
        yield Check(finding.code, state, finding.text(), finding.fix)


def _missing(fault: LycorisExtError) -> Check:
    return Check(fault.where or "config", ERROR, fault.what, fault.fix or "")


def _device(name: str) -> Check:
    import torch

    from lycoris_ext.training.precision import choose_device

    try:
        device = choose_device(name)
    except LycorisExtError as error:
        return Check("device", ERROR, error.what, error.fix or "")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        memory = f"{file_size(free)} of {file_size(total)} memory free"
        found = f"{torch.cuda.get_device_name(device)}, {memory}"
        return Check("device", OK, found)
    found = f"{device.type}, {count(torch.get_num_threads(), 'thread')}{_memory()}"
    if device.type == "cpu" and name == "auto" and shutil.which("nvidia-smi"):
        fix = "install a torch build with CUDA (see pytorch.org)"
        return Check("device", NOTE, f"{found}; there is a GPU, which this torch cannot use", fix)
    return Check("device", OK, found)


def _memory() -> str:
    try:
        import psutil
    except ModuleNotFoundError:  # accelerate would have installed it
        return ""
    memory = psutil.virtual_memory()
    return f", {file_size(memory.available)} of {file_size(memory.total)} memory free"


def _optimizers(device_name: str, chosen: str) -> Iterator[Check]:
    """Check the packages of all optimizers, and a step of the chosen and of the usual one."""
    from lycoris_ext.training.optimizer_kinds import DEFAULT_OPTIMIZER, optimizer_kinds

    kinds = optimizer_kinds()
    for package in dict.fromkeys(kind.package for kind in kinds if kind.package):
        users = " and ".join(kind.name for kind in kinds if kind.package == package)
        yield _package(package, f"optimizer_type {users}")
    for name in dict.fromkeys((DEFAULT_OPTIMIZER, chosen)):
        yield _optimizer_step(device_name, name, needed=name == chosen)


def _optimizer_step(device_name: str, name: str, *, needed: bool) -> Check:
    """Check an optimizer by doing one step with it, since its package may be broken."""
    import torch

    from lycoris_ext.training.optimizer_kinds import fallback_advice, optimizer_kind
    from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer, state_bytes
    from lycoris_ext.training.precision import choose_device
    from lycoris_ext.training.step import optimizer_step

    check, bad = f"optimizer {name}", ERROR if needed else NOTE
    kind = optimizer_kind(name)
    update = f"pip install -U {kind.package}, or {fallback_advice()}"
    if not kind.package:
        update = "install torch anew"
    try:
        parameter = torch.nn.Parameter(torch.zeros(256, 256, device=choose_device(device_name)))
        group = {"params": [parameter], "lr": 1e-3, "name": "probe"}
        optimizer = build_optimizer([group], OptimizerConfig(optimizer_type=name))
        for _ in range(8):  # some only look at the first gradients
            parameter.grad = torch.ones_like(parameter)
            optimizer_step(optimizer, 1.0, 0.0)
    except LycorisExtError as error:
        return Check(check, bad, error.what, error.fix or "")
    except (RuntimeError, OSError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        return Check(check, bad, f"a step fails ({reason})", update)
    if bool((parameter == 0).all()):
        return Check(check, bad, "a step changes nothing", update)
    stored = state_bytes(optimizer) / parameter.numel()
    if stored > 1.5 * kind.state_bytes:
        found = f"it stores {stored:.1f} bytes per parameter, expected {kind.state_bytes:g}"
        return Check(check, bad, found, update)
    return Check(check, OK, "a step works")


def _disk(folder: Path) -> Check:
    """Say how much room there is; a config's own needs are checked where they are known."""
    from lycoris_ext.formats.atomic import nearest_folder

    place = nearest_folder(folder)
    free = shutil.disk_usage(place).free
    found = f"{file_size(free)} free at {place}"
    if free < USUAL_SPACE:
        return Check("disk", NOTE, found, "free some space: a usual run writes 1 GB")
    return Check("disk", OK, found)


def _hosts(given: Sequence[Path]) -> Iterator[Check]:
    for folder in given:
        if host_of(folder) is None:
            yield Check(
                str(folder), NOTE, "this is no host's folder", "name the folder of its checkout"
            )
    found = find_hosts(Path.cwd(), given)
    for host, folder in found:
        yield Check(host, OK, str(folder))
    if not found:
        yield Check("hosts", NOTE, "none found near this folder", "name one with --host FOLDER")
