"""Files of torch.save: tensors are read, and nothing that a pickle names is ever run."""

from __future__ import annotations

import builtins
import functools
import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict

import pytest
import torch

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats.torch_file import load_torch_file
from lycoris_ext.formats.weights import load_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.ckpt"


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)


def weights():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(6, 4, generator=generator)
    return OrderedDict(
        {
            "matrix": table,
            "part of it": table[1:4, ::2],
            "transposed": table.T,
            "half": table.half(),
            "bf16": table.bfloat16(),
            "double": table.double(),
            "count": torch.arange(5),
            "small": torch.tensor([1, 2], dtype=torch.int8),
            "flags": torch.tensor([True, False]),
            "number": torch.tensor(3.0),
            "empty": torch.empty(0),
            "parameter": torch.nn.Parameter(table),
        }
    )


def test_every_kind_of_tensor_is_read(path):
    torch.save(weights(), path)
    same(load_torch_file(path), weights())
    assert load_weights(path).metadata == {}


def test_the_state_dict_of_a_module_is_read(path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(module.state_dict(), path)  # an OrderedDict with an attribute, _metadata
    same(load_torch_file(path), dict(module.state_dict()))


class ModelCheckpoint:
    """A callback of Lightning, as its checkpoints name and hold it."""


class Remembered(dict):
    pass


@pytest.fixture
def lightning(path):
    """Write a checkpoint that names classes which cannot be imported where it is read."""
    names = ["pytorch_lightning"]
    names += [f"{names[0]}.callbacks", f"{names[0]}.callbacks.model_checkpoint"]
    sys.modules.update({name: types.ModuleType(name) for name in names})
    for kind in (ModelCheckpoint, Remembered):
        kind.__module__ = names[-1]
        setattr(sys.modules[names[-1]], kind.__name__, kind)
    remembered = Remembered(best=torch.zeros(2))
    remembered.paths = [1]
    hyper = ModelCheckpoint()
    hyper.monitor = "loss"
    content = {
        "epoch": 3,
        "global_step": 840,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": {**weights(), "hyper": hyper, 5: torch.zeros(1)},
        "callbacks": {ModelCheckpoint: {"monitor": "val", "best_model_score": torch.tensor(1.0)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}}],
        "lr_schedulers": [defaultdict(list, {"a": [1]}), remembered, hyper, {1, 2}],
        "partial": functools.partial(print, "called"),
    }
    torch.save(content, path)
    for name in names:
        del sys.modules[name]
    return path


def test_a_lightning_checkpoint_is_read_without_importing_its_classes(lightning, capsys):
    same(load_torch_file(lightning), weights())
    assert "pytorch_lightning" not in sys.modules
    assert capsys.readouterr().out == ""


def test_a_state_dict_inside_a_state_dict_is_read(path):
    torch.save({"state_dict": {"state_dict": weights()}}, path)
    same(load_torch_file(path), weights())


def test_a_state_dict_that_holds_itself_is_read(path):
    content = dict(weights())
    content["state_dict"] = content
    torch.save(content, path)
    same(load_torch_file(path), weights())


# Hostile files


class Calls:
    """Is pickled as a call of the given function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Do nothing: pickle accepts only callables in the place of a function."""


def hostile(mark):
    """Return objects that run code when unpickled; each leaves the file `mark` if it succeeds."""
    line = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"echo > '{mark}'"),
        "builtins.eval": Calls(eval, line),
        "builtins.exec": Calls(exec, line),
        "getattr": Calls(Calls(getattr, Calls(__import__, "builtins"), "exec"), line),
        "import": Calls(Calls(getattr, Calls(__import__, "os"), "system"), f"echo > '{mark}'"),
        "open": Calls(open, str(mark), "w"),
        "partial": Calls(Calls(functools.partial, exec, line)),
        "torch.load": Calls(torch.load, str(mark)),
        "in a key": {("a", 1): Calls(exec, line)},
    }


@pytest.mark.parametrize("attack", list(hostile("")))
@pytest.mark.parametrize("nested", [False, True])
def test_no_function_that_a_pickle_names_is_run(path, tmp_path, attack, nested, monkeypatch):
    mark = tmp_path / "it ran"
    harm = hostile(mark)[attack]
    content = {**weights(), "harm": harm}
    torch.save({"state_dict": content} if nested else content, path)
    with monkeypatch.context() as patch:
        # A pickle that is called names its function by module: not even the import may happen.
        patch.setattr(builtins, "__import__", refuse)
        found = load_torch_file(path)
    same(found, weights())
    assert not mark.exists()


def refuse(name, *_args, **_kwargs):
    raise AssertionError(f"{name} was imported")


def write_pickle(path, program, storages=()):
    """Write a file of torch.save whose pickle is replaced by `program`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        for key, raw in storages:
            archive.writestr(f"archive/data/{key}", raw)


class _AsStorage(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


class Storage:
    def __init__(self, *pid):
        self.pid = pid


def with_tensor(build, *arguments):
    """Return a pickle of {"a": build(*arguments)}."""
    stream = io.BytesIO()
    _AsStorage(stream, protocol=2).dump({"a": Calls(build, *arguments)})
    return stream.getvalue()


FLOATS = Storage("storage", torch.FloatStorage, "0", "cpu", 4)
RAW = ("0", b"\0" * 16)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((FLOATS, 0, (5,), (1,)), "in 4 numbers"),
        ((FLOATS, 3, (2, 1), (1, 1)), "in 4 numbers"),
        ((FLOATS, -1, (2,), (1,)), "at -1"),
        ((FLOATS, 0, (2,), (-1,)), "a tensor of size"),
        ((FLOATS, 0, (2, 2), (1,)), "of 2 sides and 1 strides"),
        ((FLOATS, 0, ("a",), (1,)), "a tensor of size"),
        ((Storage("storage", torch.FloatStorage, "0", "cpu", 40), 0, (1,), (1,)), "4 of 40 numb"),
        ((Storage("storage", torch.FloatStorage, "../0", "cpu", 4), 0, (1,), (1,)), "no item"),
        ((FLOATS, 0, 7, (1,)), "a tensor of size 7"),
    ],
)
def test_tensors_that_reach_beyond_their_storage_are_refused(path, arguments, says):
    from torch._utils import _rebuild_tensor_v2

    program = with_tensor(_rebuild_tensor_v2, *arguments, False, OrderedDict())
    write_pickle(path, program, [RAW])
    with pytest.raises(FormatError, match=rf"damaged or was made to do harm .*{says}"):
        load_torch_file(path)


def test_storages_of_unknown_kinds_are_left_out(path):
    from torch._utils import _rebuild_tensor_v2

    storage = Storage("storage", os.system, "0", "cpu", 4)
    program = with_tensor(_rebuild_tensor_v2, storage, 0, (1,), (1,), False, OrderedDict())
    write_pickle(path, program, [RAW])
    with pytest.raises(FormatError, match="holds no tensors"):
        load_torch_file(path)


SET_ATTRIBUTE = {
    # BUILD with a pair of states calls setattr on whatever lies on the stack.
    "the class for dictionaries": b"ccollections\nOrderedDict\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "our rebuilder": b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "a storage's type": b"ctorch\nFloatStorage\n(N}X\x01\x00\x00\x00aK\x01stb.",
}


@pytest.mark.parametrize("target", SET_ATTRIBUTE)
def test_a_pickle_cannot_set_attributes_of_our_reader(path, target):
    write_pickle(path, SET_ATTRIBUTE[target])
    with pytest.raises(FormatError, match="made to do harm"):
        load_torch_file(path)
    torch.save(weights(), path)
    same(load_torch_file(path), weights())


def test_a_pickle_cannot_change_a_tensor(path):
    """torch.Tensor has a __setstate__, so no tensor may exist while the pickle is read."""
    stream = io.BytesIO()
    pickler = _AsStorage(stream, protocol=2)
    pickler.dump(Calls(torch._utils._rebuild_tensor_v2, FLOATS, 0, (1,), (1,), False, None))
    program = stream.getvalue()[:-1] + b"(K\x01K\x02K\x03K\x04tb."
    write_pickle(path, program, [RAW])
    with pytest.raises(FormatError, match="made to do harm"):
        load_torch_file(path)


def test_numbers_of_the_optimizers_state_are_not_read(path):
    """The state is larger than the model and may hold tensors of unknown kinds."""
    content = {"state_dict": weights(), "optimizer_states": [{0: torch.arange(1000.0)}]}
    torch.save(content, path)
    damaged = bytearray(path.read_bytes())
    at = damaged.index(torch.arange(990.0, 1000.0).numpy().tobytes())
    damaged[at] ^= 0xFF
    path.write_bytes(damaged)
    same(load_torch_file(path), weights())


def test_numbers_in_big_endian_order_are_refused(path):
    write_pickle(path, with_tensor(torch._utils._rebuild_tensor_v2, FLOATS, 0, (1,), (1,)), [RAW])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(FormatError, match="not in little-endian order"):
        load_torch_file(path)


def test_an_attribute_that_poses_as_a_method_is_not_called(path):
    """An OrderedDict whose `items` is what the pickle calls eval."""
    write_pickle(path, b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemscbuiltins\neval\nsb.")
    with pytest.raises(FormatError, match="holds no tensors"):
        load_torch_file(path)


@pytest.mark.parametrize(
    "program", [b"", b"garbage", b"\x80\x02", b"\x80\x02}q\x00X\xff\xff\xff\x7fa.", b"cos\n"]
)
def test_broken_pickles_are_refused(path, program):
    write_pickle(path, program)
    with pytest.raises(FormatError, match="is damaged or was made to do harm"):
        load_torch_file(path)


# Other files


def test_files_of_a_torch_before_1_6_are_refused_with_a_way_to_convert_them(path):
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    advice = r"of a torch before 1.6 .*\n.*save it anew with torch 2.10 or newer .*python -c"
    with pytest.raises(FormatError, match=advice):
        load_torch_file(path)


def test_a_file_of_an_old_torch_is_read_once_it_is_saved_anew(path, tmp_path):
    """Do what the error message tells the user to do."""
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    content = torch.load(path, map_location="cpu", weights_only=True)
    torch.save(content, tmp_path / "new.ckpt")
    same(load_torch_file(tmp_path / "new.ckpt"), weights())


def test_a_zip_archive_of_another_kind_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    with pytest.raises(FormatError, match=r"a zip archive, which begins with word/document.xml"):
        load_torch_file(path)


def test_a_truncated_file_is_refused(path):
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"is cut off: [0-9,]+ bytes are there"):
        load_torch_file(path)


def test_numbers_with_a_wrong_checksum_are_refused(path):
    torch.save({"a": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"cannot be read \(Bad CRC"):
        load_torch_file(path)


def test_compressed_numbers_are_refused(path, tmp_path):
    torch.save({"a": torch.zeros(1000)}, path)
    small = tmp_path / "small.ckpt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as to:
        for name in source.namelist():
            to.writestr(name, source.read(name))
    with pytest.raises(FormatError, match="compressed data"):
        load_torch_file(small)


def test_a_missing_file_is_refused(path):
    for load in (load_torch_file, load_weights):
        with pytest.raises(DataError, match="no such file"):
            load(path)


def test_a_safetensors_file_named_ckpt_is_read(path):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(2)}, path, {"modelspec.title": "x"})
    found = load_weights(path)
    same(found.tensors, {"a": torch.ones(2)})
    assert found.metadata == {"modelspec.title": "x"}
