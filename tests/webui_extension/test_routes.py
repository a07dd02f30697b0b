"""What the actions behind the routes answer; the host tests ask them over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault, LycorisExtError
from webui_extension import schemas
from webui_extension.allowed_folders import AllowedFolders, NotAllowed
from webui_extension.laboratory import Laboratory
from webui_extension.routes import Actions, error_json, job_json, status_of
from webui_extension.training import Training


@pytest.fixture
def actions(laboratory: Laboratory, tmp_path: Path) -> Actions:
    return Actions(laboratory, Training(AllowedFolders(list), tmp_path / "training"))


def test_the_answer_of_every_action_is_json(
    actions: Actions, laboratory: Laboratory, folder: Path
) -> None:
    assert actions.runs() == [str(folder)] and actions.job() == {"state": "none"}
    listed = actions.run({"folder": str(folder)})
    first = listed["checkpoints"][0]
    assert (first["step"], first["triggers"], first["dims"]) == (200, ["Tilty"], "8/1")
    assert actions.check({"files": [first["file"]]})[0]["verdict"] == "all 2 layers fit"
    asked = schemas.checked({"files": [first["file"]], "prompts": ["a cat"]}, schemas.GRID)
    started = actions.draw(asked)
    job = laboratory.jobs.last
    assert job is not None and job.ended.wait(60)
    ended = actions.job()
    assert (ended["state"], ended["done"], ended["total"]) == ("complete", 2, 2)
    assert started["grid"] == ended["grid"] and ended["columns"][0] == "without adapter"
    assert [cell["fault"] for cell in ended["cells"][0]] == ["", ""]
    assert actions.vote({"grid": ended["grid"], "row": 0, "column": 1}) == {
        "tilty-step-200 at 1": 1
    }
    assert laboratory.stars(ended["grid"]) == {0: 1}
    assert actions.training()["running"] is False
    json.dumps([listed, started, ended, job_json(job)])


def test_an_error_is_answered_as_plain_text_with_its_status() -> None:
    error = DataError("what\n<b>", where="w" * 400, fix="fix")
    assert error_json(error) == {"error": "what <b>", "where": "w" * 297 + "...", "fix": "fix"}
    for kind, number in ((NotAllowed, 403), (EnvironmentFault, 503), (DataError, 400)):
        failed: LycorisExtError = kind("x")
        assert status_of(failed) == number


def test_every_field_of_a_schema_is_described_and_its_numbers_are_checked() -> None:
    for schema in (schemas.GRID, schemas.VOTE, schemas.INSTALL, schemas.TRAINING, schemas.FILES):
        assert set(schema["required"]) <= set(schema["properties"])
        assert all(field["description"] for field in schema["properties"].values())
    assert schemas.checked({"files": []}, schemas.GRID)["strengths"] == ["1"]
    for strength in (float("nan"), float("inf"), -(10**400)):
        with pytest.raises(ConfigError, match=r"strength: is .*, expected number"):
            asked = {"file": "x", "name": "x", "strength": strength}
            schemas.checked(asked, schemas.INSTALL)
