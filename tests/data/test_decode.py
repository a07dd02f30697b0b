"""Decoding pictures of every format and colour model that people have."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from lycoris_ext.data import (
    DataConfig,
    check_picture,
    examine,
    finding_lines,
    open_picture,
    open_training_set,
)
from lycoris_ext.data.decode import decode
from lycoris_ext.errors import DataError

NOISE = Image.merge("RGB", [Image.effect_noise((48, 32), spread) for spread in (20, 40, 60)])
RAMP = Image.linear_gradient("L").resize((48, 32))
SMOOTH = Image.merge("RGB", [RAMP, RAMP.transpose(Image.Transpose.ROTATE_180), RAMP])
HAS_AVIF = ".avif" in Image.registered_extensions()
needs_avif = pytest.mark.skipif(not HAS_AVIF, reason="this Pillow has no AVIF")


def notes(path, **options):
    return check_picture(path, **options).notes


def apart(first, second):
    """Return the largest difference of two pictures in any channel."""
    return max(int(high) for _, high in ImageChops.difference(first, second).getextrema())


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.webp", {"quality": 95}, 12),
        ("a.jpg", {"quality": 95}, 12),
        ("a.JPEG", {"quality": 95, "progressive": True}, 12),
        pytest.param("a.avif", {"quality": 95}, 12, marks=needs_avif),
    ],
)
def test_every_format_is_decoded_to_the_picture_that_was_saved(tmp_path, name, options, tolerance):
    drawn = SMOOTH if tolerance else NOISE
    drawn.save(tmp_path / name, **options)
    picture = open_picture(tmp_path / name)
    assert (picture.mode, picture.size) == ("RGB", (48, 32))
    assert apart(picture, drawn) <= tolerance
    assert notes(tmp_path / name) == ()


def test_the_format_is_read_from_the_content_and_not_from_the_name(tmp_path):
    NOISE.save(tmp_path / "a.webp", lossless=True)
    (tmp_path / "a.webp").rename(tmp_path / "a.png")
    assert apart(open_picture(tmp_path / "a.png"), NOISE) == 0


@pytest.mark.parametrize("name", ["a.png", "a.webp", pytest.param("a.avif", marks=needs_avif)])
def test_transparent_parts_become_white_or_with_alpha_mask_a_mask(tmp_path, name):
    picture = Image.new("RGBA", (16, 16), (200, 40, 10, 255))
    picture.paste((0, 120, 240, 0), (0, 0, 8, 16))
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    picture.save(tmp_path / name, **options)
    page = open_picture(tmp_path / name)
    assert page.mode == "RGB"
    assert page.getpixel((2, 8)) == (255, 255, 255)
    assert apart(page.crop((10, 2, 14, 14)), Image.new("RGB", (4, 12), (200, 40, 10))) < 12
    assert notes(tmp_path / name) == ("transparent",)
    masked = open_picture(tmp_path / name, alpha_mask=True)
    assert masked.mode == "RGBA"
    assert [masked.getpixel((x, 8))[3] for x in (2, 12)] == [0, 255]
    # The colours beneath are what the model sees.
    beneath = masked.convert("RGB").crop((2, 2, 6, 14))
    assert apart(beneath, Image.new("RGB", (4, 12), (0, 120, 240))) < 12
    assert notes(tmp_path / name, alpha_mask=True) == ()


def test_half_transparent_parts_are_mixed_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (127, 127, 127)


def test_an_opaque_alpha_channel_is_no_transparency(tmp_path):
    Image.new("RGBA", (4, 4), (9, 8, 7, 255)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (9, 8, 7)
    assert notes(tmp_path / "a.png") == ()


def test_a_mask_that_leaves_nothing_is_refused(tmp_path):
    Image.new("RGBA", (4, 4), (9, 8, 7, 0)).save(tmp_path / "ghost.png")
    with pytest.raises(DataError, match="every part of it is transparent") as caught:
        open_picture(tmp_path / "ghost.png", alpha_mask=True)
    assert "ghost.png" in str(caught.value) and "alpha_mask = false" in str(caught.value)


def test_a_transparent_palette_colour_becomes_white_or_masked(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "plain.png")
    assert open_picture(tmp_path / "plain.png").getpixel((0, 0)) == (40, 50, 60)
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "one.png", transparency=0)
    shown = open_picture(tmp_path / "one.png")
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]
    mask = open_picture(tmp_path / "one.png", alpha_mask=True).getchannel("A")
    assert [mask.getpixel((x, 0)) for x in (0, 1)] == [0, 255]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(colour_type, depth, row, *, chunks=b""):
    """Return the bytes of a PNG of one row, for kinds that Pillow does not write."""
    width = len(row) * 8 // depth // {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def levels_16(*values):
    return struct.pack(f">{len(values)}H", *values)


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path):
    (tmp_path / "a.png").write_bytes(png(0, 16, levels_16(0, 257, 25700, 32896, 65535)))
    shown = open_picture(tmp_path / "a.png")
    assert [shown.getpixel((x, 0))[0] for x in range(5)] == [0, 1, 100, 128, 255]


def test_the_transparent_level_of_a_16_bit_grey_becomes_white(tmp_path):
    row, transparent = levels_16(25700, 25701, 25699, 0), chunk(b"tRNS", levels_16(25700))
    (tmp_path / "a.png").write_bytes(png(0, 16, row, chunks=transparent))
    shown = open_picture(tmp_path / "a.png")
    assert [shown.getpixel((x, 0))[0] for x in range(4)] == [255, 100, 100, 0]


@pytest.mark.parametrize(
    ("colour_type", "levels", "expected"),
    [
        (2, (65535, 32896, 0), (255, 128, 0)),
        (6, (65535, 32896, 0, 65535), (255, 128, 0)),
        (6, (65535, 32896, 0, 0), (255, 255, 255)),
        (4, (32896, 65535), (128, 128, 128)),
        (4, (32896, 0), (255, 255, 255)),
    ],
)
def test_colours_of_16_bits_are_scaled_to_8_bits(tmp_path, colour_type, levels, expected):
    (tmp_path / "a.png").write_bytes(png(colour_type, 16, levels_16(*levels)))
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == expected


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_exif_says(tmp_path, name, orientation):
    """A picture that is stored in any of the eight orientations comes out the same."""
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste((255, 0, 0), (0, 0, 16, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif, quality=95)
    picture = open_picture(tmp_path / name)
    assert picture.size == check_picture(tmp_path / name).size == (64, 32)
    red, white = picture.getpixel((5, 5)), picture.getpixel((50, 25))
    assert red[0] > 240 > 60 > red[1] and min(white) > 240


def linear_profile():
    """sRGB's primaries with a straight line for a tone curve: unmistakably other than sRGB.

    Pillow makes no such profile, so sRGB's own is changed: its curves' tags point at one `curv`
    without entries, which means identity.
    """
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    line = b"curv" + bytes(4) + struct.pack(">I", 0)
    offset = len(raw)
    raw += line
    raw[0:4] = struct.pack(">I", len(raw))
    (count,) = struct.unpack_from(">I", raw, 128)
    for tag in range(count):
        place = 132 + 12 * tag
        if raw[place : place + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            raw[place + 4 : place + 12] = struct.pack(">II", offset, len(line))
    return bytes(raw)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_colour_profiles_are_converted_to_srgb(tmp_path, name):
    picture = Image.new("RGB", (4, 4), (55, 128, 255))
    picture.save(tmp_path / name, icc_profile=linear_profile(), lossless=True)
    # Linear 55/255 and 128/255 by the formula of IEC 61966-2-1.
    expected = [
        round(255 * (1.055 * (value / 255) ** (1 / 2.4) - 0.055)) for value in (55, 128, 255)
    ]
    shown = open_picture(tmp_path / name).getpixel((0, 0))
    assert max(abs(a - b) for a, b in zip(shown, expected, strict=True)) <= 1
    assert notes(tmp_path / name) == ()


def test_a_picture_with_an_srgb_profile_is_left_as_it_is(tmp_path):
    NOISE.save(tmp_path / "a.png", icc_profile=SRGB)
    assert apart(open_picture(tmp_path / "a.png"), NOISE) == 0


def test_a_colour_profile_and_transparency_are_both_applied(tmp_path):
    picture = Image.new("RGBA", (4, 4), (55, 55, 55, 255))
    picture.putpixel((0, 0), (55, 55, 55, 0))
    picture.save(tmp_path / "a.png", icc_profile=linear_profile())
    shown = open_picture(tmp_path / "a.png")
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert abs(shown.getpixel((1, 1))[0] - 128) <= 1


@pytest.mark.parametrize(
    ("mode", "profile"), [("RGB", b"junk" * 40), ("CMYK", SRGB), ("L", SRGB), ("RGB", SRGB[:200])]
)
def test_a_colour_profile_that_cannot_be_used_is_noted(tmp_path, mode, profile):
    Image.new(mode, (8, 8)).save(tmp_path / "a.jpg", icc_profile=profile)
    assert notes(tmp_path / "a.jpg") == ("profile",)
    assert open_picture(tmp_path / "a.jpg").mode == "RGB"


def test_cmyk_white_and_black_stay_white_and_black(tmp_path):
    for name, ink, expected in (("white", 0, 255), ("black", 255, 0)):
        Image.new("CMYK", (8, 8), (0, 0, 0, ink)).save(tmp_path / f"{name}.jpg", quality=100)
        shown = open_picture(tmp_path / f"{name}.jpg").getpixel((1, 1))
        assert max(abs(value - expected) for value in shown) <= 3


@pytest.mark.parametrize("name", ["a.png", "a.webp", pytest.param("a.avif", marks=needs_avif)])
def test_animated_pictures_give_their_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    red = open_picture(tmp_path / name).getpixel((16, 16))
    assert red[0] > 230 and max(red[1:]) < 25
    assert notes(tmp_path / name) == ("animated",)


def test_the_second_picture_in_a_phones_jpeg_is_no_animation(tmp_path):
    SMOOTH.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[NOISE], quality=95)
    assert apart(open_picture(tmp_path / "a.jpg"), SMOOTH) <= 12
    assert notes(tmp_path / "a.jpg") == ()


def test_animated_and_transparent_pictures_are_noted_in_one_line_each(tmp_path):
    folder = tmp_path / "1_x"
    folder.mkdir()
    for number in range(5):
        Image.new("RGBA", (32, 32), (number, 0, 0, 100)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("x", encoding="utf-8")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "9.webp", save_all=True, append_images=frames[1:])
    (folder / "9.txt").write_text("x", encoding="utf-8")
    config = DataConfig(train_data_dir=str(tmp_path), resolution=32)
    animated, transparent = finding_lines(open_training_set(config, 0).findings)
    path = folder / "9.webp"
    assert animated == f"note LX014: 1 animated picture is trained on the first frame: {path}"
    assert transparent.startswith(
        "note LX016: 5 pictures have transparent parts, which become white: 0.png, 1.png, 2.png "
        "and 2 more -> set alpha_mask"
    )


def test_a_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 100)
    with pytest.raises(DataError, match=r"bomb\.png: too large"):
        check_picture(tmp_path / "bomb.png")


def test_a_bomb_of_text_is_refused_by_name(tmp_path):
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    (tmp_path / "bomb.png").write_bytes(png(0, 8, b"\x80", chunks=text))
    with pytest.raises(DataError, match=r"bomb\.png"):
        open_picture(tmp_path / "bomb.png")


def test_a_picture_too_thin_for_every_bucket_is_refused(tmp_path):
    folder = tmp_path / "1_x"
    folder.mkdir()
    Image.new("RGB", (1, 3000)).save(folder / "thread.png")
    (folder / "thread.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="1 picture fits no bucket") as caught:
        open_training_set(DataConfig(train_data_dir=str(tmp_path)), 0)
    grown = "to cover 256x1024 its 1x3000 pixels would grow to 256x768000"
    assert f"thread.png: {grown}" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty (0 bytes)"),
        (bytes(100), "not a picture"),
        (b"<html>not found</html>", "not a picture"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, which is not read here"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_with_the_reason(tmp_path, raw, said):
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        open_picture(tmp_path / "a.png")
    assert "a.png" in str(caught.value) and said in str(caught.value)


def test_avif_without_a_decoder_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif" + bytes(60))
    monkeypatch.setattr(Image, "registered_extensions", dict)
    with pytest.raises(DataError, match="AVIF, which this Pillow") as caught:
        open_picture(tmp_path / "a.avif")
    assert 'pip install --upgrade "pillow>=11.3"' in str(caught.value)


def written(name, **options):
    file = io.BytesIO()
    NOISE.save(file, name, **options)
    return file.getvalue()


FILES = {
    "png": written("PNG", icc_profile=SRGB),
    "jpeg": written("JPEG"),
    "webp": written("WEBP"),
    "bmp": written("BMP"),
    "animation": written("WEBP", save_all=True, append_images=[NOISE.rotate(180)]),
}
if HAS_AVIF:
    FILES["avif"] = written("AVIF")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(FILES)),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3),
    st.booleans(),
)
def test_a_damaged_file_is_decoded_or_refused_and_never_a_crash(tmp_path, name, keep, changes, cut):
    raw = bytearray(FILES[name])
    for place, value in changes:
        raw[int(place * len(raw))] = value
    if cut:
        raw = raw[: int(keep * len(raw))]
    try:
        assert decode(tmp_path / "x", bytes(raw)).picture.mode == "RGB"
    except DataError as error:
        assert error.where and error.what and error.fix


def test_cmyk_without_a_profile_and_turned_pictures_are_noted(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 32), "red").save(tmp_path / "turned.jpg", exif=exif)
    exif[274] = 1
    Image.new("RGB", (40, 32), "teal").save(tmp_path / "upright.jpg", exif=exif)
    Image.new("CMYK", (40, 32), (9, 80, 7, 0)).save(tmp_path / "printed.jpg")
    config = DataConfig(image_dir=str(tmp_path), resolution=32, allow_missing_captions=True)
    found = {one.code: [path.name for path, _ in one.where] for one in examine(config).findings}
    assert (found["LX041"], found["LX042"]) == (["printed.jpg"], ["turned.jpg"])
