"""The HTTP API under /lycoris-ext/v1/, with the same actions as the tab.

It exists if the host was started with --api, asks for the user and password of --api-auth, and is
described on the host's page /docs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import EnvironmentFault, LycorisExtError
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.words import short
from webui_extension import schemas
from webui_extension.allowed_folders import NotAllowed
from webui_extension.asked import draw
from webui_extension.door import (
    MAX_BYTES,
    Headers,
    Openness,
    as_json,
    read_json,
    refuse_foreign,
)
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.training import Training

ROOT = "/lycoris-ext/v1"
#: What a route's path can hold, in the order in which `Route.work` takes them.
_PLACES = ("grid", "name")


@dataclass(frozen=True)
class Route:
    """A route of the API.

    Args:
        method: "GET" or "POST".
        path: below ROOT; "{grid}" and "{name}" in it are handed to `work`.
        about: what it does, for the host's /docs.
        work: does it; it returns JSON values, or the path of a file to send.
        schema: of the request's body, which is checked and handed to `work`.
    """

    method: str
    path: str
    about: str
    work: Callable[..., Any]
    schema: schemas.Schema | None = None


@dataclass(frozen=True)
class Answer:
    """What a route answers: an HTTP status, with JSON or with a file."""

    status: int
    json: bytes = b""
    file: Path | None = None


def routes_of(laboratory: Laboratory, training: Training) -> list[Route]:
    """Return all routes."""
    do = Actions(laboratory, training)
    return [
        Route("GET", "/runs", "List the folders that hold adapters", do.runs),
        Route("POST", "/run", "List the checkpoints of a run", do.run, schemas.FOLDER),
        Route("POST", "/check", "Check if adapters fit the loaded model", do.check, schemas.FILES),
        Route("GET", "/grids", "List the ids of all grids, newest first", laboratory.grids),
        Route("POST", "/grids", "Draw a grid, or continue one", do.draw, schemas.GRID),
        Route("GET", "/job", "Report the progress of the last grid", do.job),
        Route("POST", "/job/interrupt", "Interrupt the grid; its pictures are kept", do.interrupt),
        Route("GET", "/grids/{grid}", "Return the fields of its request", laboratory.kept.form),
        Route("POST", "/grids/{grid}/continue", "Draw what a grid lacks", do.go_on),
        Route("POST", "/grids/{grid}/hide", "Leave a grid out of the list", do.hide),
        Route("POST", "/grids/{grid}/show", "List a hidden grid again", do.show),
        Route("POST", "/grids/{grid}/delete", "Delete a grid and its pictures", do.delete),
        Route("GET", "/grids/{grid}/page", "Return a grid as an HTML page", laboratory.page),
        Route("GET", "/grids/{grid}/cells/{name}", "Return a picture of it", laboratory.cell),
        Route("GET", "/grids/{grid}/file", "Return that page with its pictures", laboratory.file),
        Route("GET", "/grids/{grid}/picture", "Return a grid as a PNG", laboratory.picture),
        Route(
            "GET", "/grids/{grid}/votes", "Count a grid's votes: column -> votes", laboratory.votes
        ),
        Route(
            "GET", "/votes/{grid}", "Return each row's best cell: row -> column", laboratory.stars
        ),
        Route("POST", "/votes", "Vote for the best cell of a row", do.vote, schemas.VOTE),
        Route("POST", "/install", "Install an adapter in the host", do.install, schemas.INSTALL),
        Route("GET", "/training", "Report the progress of the training", do.training),
        Route("POST", "/training", "Start a training", do.train, schemas.TRAINING),
        Route("POST", "/training/stop", "Stop the training", do.stop_training),
    ]


def respond(
    route: Route, headers: Headers, body: bytes, places: Mapping[str, str], openness: Openness
) -> Answer:
    """Do what a request asks for; errors of ours become a JSON answer.

    Args:
        route: the route that was asked.
        headers: the request's headers; their names are in small letters.
        body: its body.
        places: values of "{grid}" and "{name}" in its path.
        openness: to whom the host is open.
    """
    try:
        refuse_foreign(route.method, headers, openness)
        arguments: list[Any] = list(places.values())
        if route.method == "POST":
            content = read_json(body, headers)
            if route.schema is not None:
                arguments.append(schemas.checked(content, route.schema))
        result = route.work(*arguments)
    except LycorisExtError as error:
        return Answer(status_of(error), as_json(error_json(error)))
    return Answer(200, file=result) if isinstance(result, Path) else Answer(200, as_json(result))


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
    for route in routes_of(laboratory, training):
        app.add_api_route(
            ROOT + route.path,
            _endpoint(route, laboratory.host.openness),
            methods=[route.method],
            summary=route.about,
            tags=["LyCORIS Ext"],
            name=(route.method + route.path).replace("/", "_"),
            response_model=None,
            dependencies=guards,
            openapi_extra=_described(route),
        )


def _described(route: Route) -> dict[str, Any]:
    """Describe a route's arguments for the host's /docs."""
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACES
        if f"{{{name}}}" in route.path
    ]
    described: dict[str, Any] = {"parameters": places} if places else {}
    if route.schema is not None:
        described["requestBody"] = {"content": {"application/json": {"schema": route.schema}}}
    return described


def _endpoint(route: Route, openness: Callable[[], Openness]) -> Callable[..., Any]:
    """Make the function that FastAPI calls for a request."""
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import FileResponse, Response

    async def endpoint(request: Any) -> Any:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BYTES:
                break  # it is refused by its length
        places = {n: request.path_params[n] for n in _PLACES if n in request.path_params}
        answer = await run_in_threadpool(respond, route, request.headers, body, places, openness())
        if answer.file is not None:
            # A page that is being drawn, and its pictures, change under their names.
            return FileResponse(answer.file, headers={"Cache-Control": "no-cache"})
        return Response(answer.json, answer.status, media_type="application/json")

    # FastAPI reads this, and cannot look up a name that is known inside this function alone.
    endpoint.__annotations__ = {"request": Request}
    return endpoint


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

    def go_on(self, grid: str) -> dict[str, Any]:
        return job_json(self._laboratory.go_on(grid))

    def hide(self, grid: str) -> list[str]:
        self._laboratory.kept.hide(grid)
        return self._laboratory.grids()

    def show(self, grid: str) -> list[str]:
        self._laboratory.kept.hide(grid, False)
        return self._laboratory.grids()

    def delete(self, grid: str) -> list[str]:
        self._laboratory.kept.delete(grid)
        return self._laboratory.grids()

    def job(self) -> dict[str, Any]:
        last = self._laboratory.jobs.last
        return job_json(last) if last else {"state": "none"}

    def interrupt(self) -> dict[str, Any]:
        self._laboratory.jobs.interrupt()
        return self.job()

    def vote(self, asked: dict[str, Any]) -> dict[str, int]:
        self._laboratory.vote(asked["grid"], asked["row"], asked["column"])
        return self._laboratory.votes(asked["grid"])

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
        "doubts": list(checkpoint.summary.doubts),
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
    """Return the HTTP status for an error: 403 (not allowed), 503 (environment) or else 400."""
    if isinstance(error, NotAllowed):
        return 403
    return 503 if isinstance(error, EnvironmentFault) else 400


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
