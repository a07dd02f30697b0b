"""How much memory pictures take, and which formats are opened at all."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from lycoris_ext.data import decode, picture_header, pictures
from lycoris_ext.data.memory_budget import MemoryBudget
from lycoris_ext.data.picture_header import MOST_PIXELS, Header
from lycoris_ext.data.pictures import check_picture, open_picture
from lycoris_ext.errors import DataError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        check_picture(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def empty_png(width: int, height: int) -> bytes:
    """Return a PNG of that size whose pixels are missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_postscript_is_handed_to_no_other_program(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: called.append(given))
    (tmp_path / "a.png").write_bytes(EPS)
    assert "PostScript (EPS), which is not read here: save it as PNG" in refused(tmp_path / "a.png")
    assert not called


@pytest.mark.parametrize(
    ("kind", "name"),
    [("GIF", "GIF"), ("TIFF", "TIFF"), ("ICO", "an icon"), ("JPEG2000", "JPEG 2000")],
)
def test_a_format_that_is_not_listed_is_named_whatever_the_name_of_the_file(tmp_path, kind, name):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png", kind)
    assert f"{name}" in (told := refused(tmp_path / "a.png")) and "not read here" in told


@pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "SGI", "XBM", "DDS"])
def test_nothing_else_that_pillow_knows_is_opened(tmp_path, kind):
    Image.new("1" if kind == "XBM" else "RGB", (32, 32)).save(tmp_path / "a.png", kind)
    refused(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_more_pixels_than_the_bound_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch, suffix
):
    Image.new("RGB", (10, 100)).save(path := tmp_path / f"a.{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a host may have taken Pillow's away
    monkeypatch.setattr(picture_header, "MOST_PIXELS", 999)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    told = refused(path)
    assert "too large: it has 10 x 100 pixels" in told and "up to 999 pixels" in told
    assert "-> scale the picture down" in told


def test_the_bound_of_pixels_holds_where_a_host_took_pillows_away(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "a.png").write_bytes(empty_png(20_000, 20_000))
    assert f"up to {MOST_PIXELS:,} pixels" in refused(tmp_path / "a.png")
    assert Header("PNG", (20_000, MOST_PIXELS // 20_000), 1).memory <= 3 * 2**30


def test_a_file_larger_than_the_bound_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "read_within", lambda *_: pytest.fail("read"))
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(6 * 10**9)
    told = refused(tmp_path / "x.png")
    assert "it has 6.00 GB, and at most 1.00 GB are read" in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "it is a pipe, not a file" in refused(tmp_path / "a.png")


@pytest.mark.parametrize("failing", ["load", "convert", "paste", "getchannel"])
def test_where_memory_is_missing_the_picture_is_named(tmp_path, monkeypatch, failing):
    def no_memory(*_, **__):
        raise MemoryError

    Image.new("RGBA", (32, 32), (1, 2, 3, 4)).save(tmp_path / "a.webp", lossless=True)
    monkeypatch.setattr(Image.Image, failing, no_memory)
    assert "too large: it does not fit into the memory" in refused(tmp_path / "a.webp")


def test_threads_decode_no_more_at_once_than_the_budget_allows(tmp_path, monkeypatch):
    budget = MemoryBudget(3 * Header("PNG", (32, 32), 1).memory)
    lock, at_once, most = threading.Lock(), 0, 0
    real = decode._decode

    def counted(*given):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.01)
        try:
            return real(*given)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(decode, "DECODING", budget)
    monkeypatch.setattr(decode, "_decode", counted)
    paths = [tmp_path / f"{number}.png" for number in range(24)]
    for path in paths:
        Image.new("RGB", (32, 32)).save(path)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(check_picture, paths))) == 24
    assert most == 3


def test_a_picture_that_fails_gives_its_share_back(tmp_path, monkeypatch):
    memory = Header("PNG", (32, 32), 1).memory
    monkeypatch.setattr(decode, "DECODING", MemoryBudget(memory))
    monkeypatch.setattr(pictures, "FILES", MemoryBudget(10**4))
    (tmp_path / "broken.png").write_bytes(empty_png(32, 32))
    Image.new("RGB", (32, 32)).save(tmp_path / "whole.png")
    for _ in range(3):
        refused(tmp_path / "broken.png")
        assert open_picture(tmp_path / "whole.png").size == (32, 32)


def test_large_and_small_shares_wait_for_each_other_without_end_nowhere():
    budget, lock, held, most = MemoryBudget(100), threading.Lock(), 0, 0

    def use(size: int) -> None:
        nonlocal held, most
        with budget.share(size):
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(use, [100, 1, 60, 50, 0, 99] * 100))
    assert held == 0 and 0 < most <= 100
    with pytest.raises(ValueError, match="101 bytes"):
        use(101)
