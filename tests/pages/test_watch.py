"""The page of `lycoris-ext watch`: its numbers, its server, and the page as a file."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.cli import main
from lycoris_ext.errors import DataError
from lycoris_ext.pages.watch.content import Watched, find_runs
from lycoris_ext.pages.watch.curves import MOST_POINTS, Curve, EventCurves
from lycoris_ext.pages.watch.page import page_text
from lycoris_ext.pages.watch.server import WatchServer
from lycoris_ext.runs.events import EventLog
from lycoris_ext.runs.paths import RunPaths


def write_run(folder: Path, name: str, steps: int, more: str = "", pictures: int = 2) -> RunPaths:
    """Write the files of a run that the page reads, with a picture every tenth step."""
    paths = RunPaths(folder, name)
    paths.samples.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1):
        event = {
            "event": "step",
            "step": step,
            "loss": 0.1 + 0.4 / step + 0.05 * math.sin(step * 12.9898),
            "epoch": step // 10,
            "grad_norm": 0.5 + 0.1 * math.cos(step),
            "learning_rates": {"unet": 1e-4 * (1 - step / (2 * steps)), "text_encoder": 5e-5},
            "time": 1.7e9 + 2 * step,
        }
        lines.append(json.dumps(event) + "\n")
        if step % 10 == 0 and step // 10 <= pictures:
            for number in range(2):
                colour = (20 * step % 256, 90, 120 + 60 * number)
                Image.new("RGB", (96, 64), colour).save(paths.sample(step, number))
    paths.events.write_text("".join(lines), "utf-8")
    paths.config.write_text(
        f'[run]\nmax_train_steps = {2 * steps}\noutput_name = "{name}"\n{more}', "utf-8"
    )
    return paths


@contextmanager
def serving(*runs: RunPaths) -> Iterator[WatchServer]:
    with WatchServer([Watched(run) for run in runs]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(server: WatchServer, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400)


@given(values, st.integers(1, 50))
def test_few_points_keep_the_extremes_the_last_step_and_the_mean(
    losses: list[float], most: int
) -> None:
    curve = Curve()
    for step, loss in enumerate(losses):
        curve.add(step, loss)
    points = curve.points(most)
    assert len(points) <= most and points[-1][0] == len(losses) - 1
    assert min(low for _, low, _, _ in points) == min(losses)
    assert max(high for _, _, high, _ in points) == max(losses)
    assert [step for step, *_ in points] == sorted({step for step, *_ in points})


def test_a_long_run_becomes_a_small_page(tmp_path: Path) -> None:
    run = Watched(write_run(tmp_path, "long", 100_000, pictures=0))
    content = {"live": "", "runs": [run.as_content(str)]}
    curves = content["runs"][0]["curves"]  # type: ignore[index]
    assert set(curves) >= {"loss", "loss, smoothed", "gradient norm", "rate of unet"}
    assert all(len(points) <= MOST_POINTS for points in curves.values())
    assert len(page_text(content)) < 600_000


def test_what_is_added_to_a_log_is_read_and_a_run_that_goes_on_replaces_it(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "a.events.jsonl")
    for step in range(1, 6):
        log.write("step", step, loss=float(step), learning_rates={"unet": 1e-4})
    curves = EventCurves(log.path)
    curves.refresh()
    assert curves.step == 5 and curves.seconds_a_step() is not None
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "step": 6, "lo')
    curves.refresh()
    assert curves.curves["loss"].steps == [1, 2, 3, 4, 5]
    with log.path.open("a", encoding="utf-8") as file:
        file.write('ss": 7.5}\n')
    curves.refresh()
    assert curves.curves["loss"].values[-1] == 7.5
    log.continue_after(3)
    log.write("step", 4, loss=9.0)
    log.write("finished", 4)
    curves.refresh()
    assert curves.curves["loss"].values == [1.0, 2.0, 3.0, 9.0] and curves.ended == "finished"


def test_runs_are_found_by_their_folder_and_by_any_of_their_files(tmp_path: Path) -> None:
    one, two = write_run(tmp_path, "one.v2", 3), write_run(tmp_path, "two", 3)
    assert find_runs([tmp_path]) == [one, two]
    for place in (one.adapter, one.config, one.events):
        assert find_runs([place, place]) == [one]
    for place in (tmp_path / "none", tmp_path / "sample"):
        with pytest.raises(DataError, match="here is no run"):
            find_runs([place])


def test_the_server_answers_its_own_page_alone_and_gives_pictures_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a #1", 20)
    with serving(run) as server:
        token = server.token
        status, page = asked(server, f"/{token}/")
        assert status == 200 and b"<title>a #1</title>" in page
        now: dict[str, Any] = json.loads(asked(server, f"/{token}/now.json")[1])
        shown = now["runs"][0]
        assert (shown["step"], shown["total"], shown["seconds_left"]) == (20, 40, 40.0)
        picture = shown["pictures"][0]
        assert picture["step"] == 10
        found = asked(server, f"/{token}/{picture['address']}")
        assert found == (200, run.drawn()[0].read_bytes())
        for path in ("picture/0/..%2Fa%20%231.toml", "picture/1/x.png", "picture", "x/y"):
            assert asked(server, f"/{token}/{path}")[0] == 404
        for path in ("/", "/now.json", f"/{token[:-1]}/", f"/{token}x/now.json"):
            assert asked(server, path)[0] == 403
        for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1"):
            assert asked(server, f"/{token}/", host)[0] == 403
        run.events.unlink()
        assert asked(server, f"/{token}/now.json")[0] == 404


def test_the_page_as_a_file_holds_pictures_and_hostile_names_as_data(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "a", 20, more='x = "</script><script>alert(1)</script>"\n')
    run.drawn()[-1].write_bytes(b"no picture")
    page = tmp_path / "page.html"
    assert main(["watch", str(run.folder), "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 3
    assert "<script>alert" not in text
