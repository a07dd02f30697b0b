"""Captions in older encodings are recognised, and never taken for another language's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data.caption_files import decode_utf8
from lycoris_ext.data.encodings import ENCODINGS, guess_as, guess_encodings
from lycoris_ext.errors import ConfigError

CAPTIONS = {
    "cp932": "桜の木の下で|猫耳、笑顔|1girl, 初音ミク|黒髪ロング, 赤い瞳|夕焼け|和服を着た女性",
    "gbk": "樱花树下|猫耳，微笑|1girl, 初音未来|黑长直, 红瞳, school|夕阳|穿汉服的女人|高达",
    "cp950": "櫻花樹下|貓耳，微笑|1girl, 初音未來|黑長直, 紅瞳, school|夕陽|穿漢服的女人|鋼彈",
    "cp949": "벚꽃 나무 아래|고양이 귀, 미소|1girl, 하츠네 미쿠|검은 머리, 빨간 눈|노을|건담",
    "cp1252": "café|a woman’s dress|naïve art|piñata, red|“quoted” sign|São Paulo|forêt enchantée",
    "cp1251": "под сакурой|кошачьи уши, улыбка|чёрные волосы, red eyes|закат|женщина в кимоно",
}


@pytest.mark.parametrize("encoding", CAPTIONS)
def test_the_captions_of_a_folder_are_recognised_together(encoding):
    texts = CAPTIONS[encoding].split("|")
    guesses = guess_encodings([text.encode(encoding) for text in texts])
    assert [guess.text for guess in guesses] == texts
    assert {guess.encoding for guess in guesses} == {encoding}
    assert not any(guess.certain for guess in guesses)


@pytest.mark.parametrize("encoding", CAPTIONS)
def test_a_single_caption_is_recognised_or_left_open_but_never_misread(encoding):
    for text in CAPTIONS[encoding].split("|"):
        (guess,) = guess_encodings([text.encode(encoding)])
        assert guess.text in (text, ""), guess
        assert guess.encoding or guess.says.startswith("may be ")


def test_what_one_short_caption_leaves_open_its_folder_decides():
    short, *others = (text.encode("gbk") for text in ("高达", "樱花树下", "穿汉服的女人"))
    assert guess_encodings([short])[0].text == ""
    assert guess_encodings([short, *others])[0].text == "高达"


def test_a_file_that_is_clearly_otherwise_is_no_victim_of_its_folder():
    files = [text.encode("gbk") for text in CAPTIONS["gbk"].split("|")]
    files += ["café au lait, déjà vu".encode("cp1252"), "桜の木の下で、笑顔".encode("cp932")]
    encodings = [guess.encoding for guess in guess_encodings(files)]
    assert encodings == ["gbk"] * (len(files) - 2) + ["cp1252", "cp932"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["red, blue\r\n", "1girl, 少女"])
def test_utf16_is_recognised_with_and_without_a_byte_order_mark(encoding, text):
    (guess,) = guess_encodings([text.encode(encoding)])
    assert guess.text.removeprefix("\ufeff") == text
    assert guess.certain and guess.says == f"is {encoding[:6].upper()}"


def test_utf16_of_ascii_letters_is_not_taken_for_utf8_with_zero_bytes():
    assert decode_utf8("red, blue".encode("utf-16-le")) is None
    assert decode_utf8("red, blue".encode("utf-8-sig")) == "red, blue"


@pytest.mark.parametrize("cut", [1, 2])
def test_utf8_that_was_cut_short_is_not_taken_for_an_older_encoding(cut):
    (guess,) = guess_encodings(["一个女孩，站在樱花树下".encode()[:-cut]])
    assert guess.encoding == "" and "damaged UTF-8" in guess.says


@pytest.mark.parametrize("raw", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfea", b"\x01\x80\x02"])
def test_what_is_no_text_is_not_decoded(raw):
    (guess,) = guess_encodings([raw])
    assert (guess.encoding, guess.text) == ("", "")


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_get_a_guess_that_decodes_them_or_none(files):
    guesses = guess_encodings(files)
    assert len(guesses) == len(files)
    for raw, guess in zip(files, guesses, strict=True):
        assert guess.says
        assert not guess.encoding or raw.decode(guess.encoding) == guess.text


@given(st.text(min_size=1, max_size=30), st.sampled_from([known.name for known in ENCODINGS]))
def test_any_text_of_an_encoding_gets_a_guess(text, encoding):
    raw = text.encode(encoding, "ignore")
    (guess,) = guess_encodings([raw])
    assert not guess.encoding or raw.decode(guess.encoding) == guess.text


def test_an_encoding_that_the_user_names_is_tried_strictly():
    assert guess_as("少女".encode("gbk"), "gb18030").text == "少女"
    assert "byte 0 is 0xfd" in guess_as(b"\xfdx", "shift_jis").says
    assert guess_as(b"\xff", "cp932").says == "is no text"
    with pytest.raises(ConfigError, match="'nix' is no encoding"):
        guess_as(b"a", "nix")
    with pytest.raises(ConfigError, match="'hex' is no encoding"):
        guess_as(b"a", "hex")
