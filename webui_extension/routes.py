"""The HTTP API under /lycoris-ext/v1/, with the same actions as the tab.

It exists if the host was started with --api, asks for the user and password of --api-auth, and is
described on the host's page /docs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lycoris_ext.errors import EnvironmentFault, LycorisExtError
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.words import short
from webui_extension import schemas
from webui_extension.allowed_folders import NotAllowed
from webui_extension.asked import draw
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.training import Training

ROOT = "/lycoris-ext/v1"


def add_routes(
    app: Any, laboratory: Laboratory, training: Training, credentials: str | None
) -> None:
    """Add every route to the host's application.

    Args:
        app: the host's FastAPI application.
        laboratory, training: do what the routes ask for.
        credentials: the value of --api-auth, "user:password,..."; None leaves the routes open.
    """
    from fastapi import Depends

    guards = [Depends(_guard(credentials))] if credentials else []

    def add(
        method: str,
        path: str,
        about: str,
        work: Callable[..., Any],
        schema: schemas.Schema | None = None,
    ) -> None:
        described = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        app.add_api_route(
            ROOT + path,
            _endpoint(path, work, schema),
            methods=[method],
            summary=about,
            tags=["LyCORIS Ext"],
            name=(method + path).replace("/", "_"),
            response_model=None,
            dependencies=guards,
            openapi_extra=described if schema else None,
        )

    actions = Actions(laboratory, training)
    add("GET", "/runs", "List the folders that hold adapters", actions.runs)
    add("POST", "/run", "List the checkpoints of a run", actions.run, schemas.FOLDER)
    add("POST", "/check", "Check if adapters fit the loaded model", actions.check, schemas.FILES)
    add("GET", "/grids", "List the ids of all grids, newest first", laboratory.grids)
    add("POST", "/grids", "Draw a grid, or continue one", actions.draw, schemas.GRID)
    add("GET", "/job", "Report the progress of the last grid", actions.job)
    add("POST", "/job/interrupt", "Interrupt the grid; its pictures are kept", actions.interrupt)
    add("GET", "/grids/{grid}/page", "Return a grid as an HTML page", laboratory.page)
    add("GET", "/grids/{grid}/cells/{name}", "Return a picture of that page", laboratory.cell)
    add("GET", "/grids/{grid}/picture", "Return a grid as a labelled PNG", laboratory.picture)
    add("GET", "/grids/{grid}/votes", "Count a grid's votes: column -> votes", laboratory.votes)
    add("GET", "/votes/{grid}", "Return each row's best cell: row -> column", actions.stars)
    add("POST", "/votes", "Vote for the best cell of a row", actions.vote, schemas.VOTE)
    add("POST", "/install", "Install an adapter in the host", actions.install, schemas.INSTALL)
    add("GET", "/training", "Report the progress of the training", actions.training)
    add("POST", "/training", "Start a training", actions.train, schemas.TRAINING)
    add("POST", "/training/stop", "Stop the training", actions.stop_training)


def _endpoint(
    path: str, work: Callable[..., Any], schema: schemas.Schema | None
) -> Callable[..., Any]:
    """Make the function that FastAPI calls for a request; it reads its arguments off the names.

    Args:
        path: of the route; "{grid}" in it is handed to `work`.
        work: does what the route asks for; an error of ours becomes a JSON answer.
        schema: of the request's body, which is then checked and handed to `work`.
    """
    from fastapi import Body
    from fastapi.responses import FileResponse, JSONResponse

    def answer(function: Callable[[], Any]) -> Any:
        try:
            result = function()
        except LycorisExtError as error:
            return JSONResponse(error_json(error), status_code=status_of(error))
        return FileResponse(result) if hasattr(result, "read_bytes") else result

    body = Body(...)

    def with_body(content: Any = body) -> Any:
        assert schema is not None
        return answer(lambda: work(schemas.checked(content, schema)))

    def with_grid(grid: str) -> Any:
        return answer(lambda: work(grid))

    def with_grid_and_name(grid: str, name: str) -> Any:
        return answer(lambda: work(grid, name))

    def without_arguments() -> Any:
        return answer(work)

    if schema is not None:
        return with_body
    if "{name}" in path:
        return with_grid_and_name
    return with_grid if "{grid}" in path else without_arguments


class Actions:
    """One method per route: it takes the request's checked fields and returns JSON values."""

    def __init__(self, laboratory: Laboratory, training: Training) -> None:
        self._laboratory = laboratory
        self._training = training

    def runs(self) -> list[str]:
        return [str(folder) for folder in self._laboratory.runs()[0]]

    def run(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self._laboratory.pick(asked["folder"])
        return {
            "folder": str(run.folder),
            "checkpoints": [checkpoint_json(known) for known in run.checkpoints],
            "refused": [{"file": name, "why": why} for name, why in run.refused],
        }

    def check(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        known = [self._laboratory.checkpoint(file) for file in asked["files"]]
        return [{"file": str(c.path), "verdict": self._laboratory.verdict(c)} for c in known]

    def draw(self, asked: dict[str, Any]) -> dict[str, Any]:
        return job_json(draw(self._laboratory, asked))

    def job(self) -> dict[str, Any]:
        last = self._laboratory.jobs.last
        return job_json(last) if last else {"state": "none"}

    def interrupt(self) -> dict[str, Any]:
        self._laboratory.jobs.interrupt()
        return self.job()

    def vote(self, asked: dict[str, Any]) -> dict[str, int]:
        self._laboratory.vote(asked["grid"], asked["row"], asked["column"])
        return self._laboratory.votes(asked["grid"])

    def stars(self, grid: str) -> dict[str, int]:
        # The host's JSON encoder takes only text as keys.
        return {str(row): column for row, column in self._laboratory.stars(grid).items()}

    def install(self, asked: dict[str, Any]) -> list[str]:
        written = self._laboratory.install(
            asked["file"],
            asked["name"],
            preview=asked["preview"],
            description=asked["description"],
            strength=asked["strength"],
        )
        return [str(path) for path in written]

    def training(self) -> dict[str, Any]:
        return asdict(self._training.state())

    def train(self, asked: dict[str, Any]) -> dict[str, Any]:
        host = self._laboratory.host
        state = self._training.start(
            asked["config"], host.train_python(), allowed=host.may_start_programs()
        )
        return asdict(state)

    def stop_training(self) -> dict[str, Any]:
        return asdict(self._training.stop())


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe a checkpoint as JSON values."""
    return {
        "file": str(checkpoint.path),
        "name": checkpoint.name,
        "step": checkpoint.step,
        "algorithm": checkpoint.algorithm,
        "dims": checkpoint.dims,
        "bytes": checkpoint.summary.bytes,
        "hash": checkpoint.hash,
        "model_hash": checkpoint.summary.hash.computed,
        "base": checkpoint.base,
        "triggers": list(checkpoint.summary.triggers),
        "scores": dict(checkpoint.scores),
    }


def job_json(job: Job) -> dict[str, Any]:
    """Describe a job as JSON values.

    "cells" holds rows of `cell_json`, with null for cells that are not drawn yet.
    """
    return {
        "grid": job.plan.id,
        "state": job.state,
        "progress": str(job.progress),
        "done": job.progress.done,
        "total": job.progress.total,
        "painted": job.progress.painted,
        "problem": job.problem,
        "notes": job.notes,
        "columns": job.plan.column_labels(),
        "rows": job.plan.row_labels(),
        "cells": [
            [None if cell is None else cell_json(cell) for cell in row] for row in job.grid.table()
        ],
    }


def cell_json(cell: StoredCell) -> dict[str, str]:
    """Describe a drawn cell: its file, and what is wrong with it ("" if nothing is)."""
    return {"path": str(cell.path), "fault": cell.fault}


def error_json(error: LycorisExtError) -> dict[str, str]:
    """Describe an error: what is wrong, where, and how to fix it."""
    return {
        "error": short(error.what, 1000),
        "where": short(error.where or "", 300),
        "fix": short(error.fix or "", 1000),
    }


def status_of(error: LycorisExtError) -> int:
    """Return the HTTP status for an error: 403 (not allowed), 500 (environment) or else 400."""
    if isinstance(error, NotAllowed):
        return 403
    return 500 if isinstance(error, EnvironmentFault) else 400


def _guard(credentials: str) -> Callable[..., None]:
    """Make a FastAPI dependency that asks for user and password as the host's own API does."""
    from fastapi import Depends, HTTPException
    from fastapi.security import HTTPBasic, HTTPBasicCredentials

    known = dict(pair.split(":", 1) for pair in credentials.split(","))
    basic = Depends(HTTPBasic())

    def check(given: Any = basic) -> None:
        assert isinstance(given, HTTPBasicCredentials)
        wanted = known.get(given.username)
        if wanted is None or not secrets.compare_digest(
            given.password.encode("utf-8"), wanted.encode("utf-8")
        ):
            raise HTTPException(
                401, "Incorrect username or password", {"WWW-Authenticate": "Basic"}
            )

    return check
