"""A run never writes over the files of another run."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.training.door import Door


def test_a_run_whose_name_is_locked_is_refused_before_anything_is_touched(run, tmp_path):
    with (
        RunLock(tmp_path / ".a.lock"),
        pytest.raises(EnvironmentFault, match="another process is training"),
    ):
        run(output_dir=str(tmp_path), output_name="a")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_run_that_began_meanwhile_is_not_overwritten(run, tmp_path, monkeypatch):
    read = Door.read_pictures

    def overtaken(*given):
        monkeypatch.setattr(Door, "read_pictures", read)
        run()
        return read(*given)

    monkeypatch.setattr(Door, "read_pictures", overtaken)
    with pytest.raises(DataError, match="this file exists already"):
        run(seed=5)
    assert "seed = 0" in (tmp_path / "out" / "test.toml").read_text("utf-8")
