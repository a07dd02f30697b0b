"""Captions as tokens: cut, filled up and split into pieces, and their weights."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.errors import ConfigError
from lycoris_ext.models import ModelConfig
from lycoris_ext.models.tokens import count_tokens, split_captions
from lycoris_ext.models.weighted_text import split_by_weight
from tests.tiny_pipeline import MAX_TOKENS, tiny_pipeline

START, END, PAD = 98, 99, 0
ROOM = MAX_TOKENS - 2


class Numbers:
    """A tokenizer of captions such as "5 7 0": each number is a token."""

    bos_token_id, eos_token_id = START, END

    def __init__(self, pad: int) -> None:
        self.pad_token_id = pad

    def __call__(self, text: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[int(word) for word in text.split()])


OPENAI, OPENCLIP = Numbers(END), Numbers(PAD)


def split(tokenizer: Numbers, caption: str, pieces: int) -> list[list[int]]:
    """Split a caption for an encoder that reads 3 tokens of text between its marks."""
    return split_captions(tokenizer, [caption], 5, pieces).ids[0].tolist()


def test_a_short_caption_is_filled_up_and_a_long_one_cut() -> None:
    assert split(OPENAI, "5", 1) == [[START, 5, END, END, END]]
    assert split(OPENCLIP, "5", 1) == [[START, 5, END, PAD, PAD]]
    for tokenizer in (OPENAI, OPENCLIP):
        assert split(tokenizer, "5 6 7 8", 1) == [[START, 5, 6, 7, END]]


def test_every_piece_of_openais_encoder_ends_in_an_end_mark() -> None:
    assert split(OPENAI, "5 6 7 8", 3) == [
        [START, 5, 6, 7, END],
        [START, 8, END, END, END],
        [START, END, END, END, END],
    ]


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("5 6", [[START, 5, 6, END, PAD], [START, END, PAD, PAD, PAD]]),
        # The end mark falls on the first place of the second piece.
        ("5 6 7", [[START, 5, 6, 7, END], [START, END, PAD, PAD, PAD]]),
        ("5 6 7 8 9", [[START, 5, 6, 7, END], [START, 8, 9, END, PAD]]),
        ("5 6 7 8 9 10 11", [[START, 5, 6, 7, END], [START, 8, 9, 10, END]]),
        # A "!" inside of a word has the id of the padding.
        ("5 6 0 8", [[START, 5, 6, 0, PAD], [START, 8, END, PAD, PAD]]),
        ("5 6 7 0 9", [[START, 5, 6, 7, END], [START, END, 9, END, PAD]]),
    ],
)
def test_pieces_of_openclips_encoder_have_their_end_marks_where_sd_scripts_puts_them(
    caption: str, pieces: list[list[int]]
) -> None:
    assert split(OPENCLIP, caption, 2) == pieces


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_long_caption_is_encoded_in_pieces_that_are_joined_without_their_marks(
    family, weighted, tmp_path
):
    pipeline = tiny_pipeline(tmp_path, family=family)
    pipeline.max_token_length, pipeline.weighted_captions = 150, weighted
    caption = "cat " * 20 + "(dog:2) " * 5  # 25 tokens of text and, unweighted, characters
    text = pipeline.encode_text(["red", caption])
    assert text.states.shape[1] == 2 * ROOM + 2

    parts = []
    for tokenizer, encoder in zip(
        pipeline.tokenizers(), pipeline.text_encoders().values(), strict=True
    ):
        words = "cat " * 20 + "dog " * 5 if weighted else caption
        ids = tokenizer(words, add_special_tokens=False).input_ids[: 2 * ROOM]
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        ids += [end] * (2 * ROOM - len(ids))
        marked = [[start, *piece, end] for piece in (ids[:ROOM], ids[ROOM:])]
        output = encoder(torch.tensor(marked), output_hidden_states=True)
        states = output.hidden_states[-2] if family == "sdxl" else output.last_hidden_state
        parts.append(torch.cat([states[0, :-1], states[1, 1:]]))
    expected = torch.cat(parts, dim=-1)
    if weighted:
        expected[1 + 20 : 1 + 25] *= 2
    torch.testing.assert_close(text.states[1], expected, rtol=0, atol=1e-6)
    if text.pooled is not None:
        torch.testing.assert_close(text.pooled[1], output.text_embeds[0], rtol=0, atol=1e-6)


def test_a_caption_does_not_change_with_its_neighbours_and_gradients_reach_every_piece(tmp_path):
    pipeline = tiny_pipeline(tmp_path)
    pipeline.max_token_length = 225
    alone = pipeline.encode_text(["cat " * 50]).states
    together = pipeline.encode_text(["dog", "cat " * 50]).states
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-6)
    table = pipeline.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    states = pipeline.encode_text(["cat " * ROOM + "dog " * ROOM + "red " * ROOM]).states
    noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    (states * noise).sum().backward()
    for word in ("cat", "dog", "red"):
        (token,) = pipeline.tokenizer(word, add_special_tokens=False).input_ids
        assert table.grad is not None and table.grad[token].abs().sum() > 0, word


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("", [("", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(red hair:1.25), hat", [("red hair", 1.25), (", hat", 1.0)]),
        ("a [pale] sky", [("a ", 1.0), ("pale", 1 / 1.1), (" sky", 1.0)]),
        ("((a) b:2)", [("a", 2.2), (" b", 2.0)]),
        ("(never closed", [("never closed", 1.1)]),
        ("closed) [twice]]", [("closed) ", 1.0), ("twice", 1 / 1.1), ("]", 1.0)]),
        (r"saber \(fate\)", [("saber (fate)", 1.0)]),
        (r"\[a\] \\ b\c", [(r"[a] \ bc", 1.0)]),
        ("time 12:30) 1:2", [("time 12:30) 1:2", 1.0)]),
        ("(a:-0.5)(b:+2)", [("a", -0.5), ("b", 2.0)]),
        ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),  # no number; sd-scripts stops with a traceback here
        ("(one)(two)", [("onetwo", 1.1)]),
    ],
)
def test_weights_are_read_by_the_rules_of_the_prompts_of_automatic1111(text, parts):
    found = split_by_weight(text)
    assert [part for part, _ in found] == [part for part, _ in parts]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in parts])


@given(st.text(alphabet="ab ()[]:\\.12,é", max_size=100))
def test_any_text_has_weights_and_keeps_its_letters(text):
    parts = split_by_weight(text)
    assert parts and all(math.isfinite(weight) for _, weight in parts)
    assert all(before[1] != after[1] for before, after in pairwise(parts))
    letters = [c for c in text if c in "ab é,"]
    assert [c for part, _ in parts for c in part if c in "ab é,"] == letters


def test_weights_keep_the_number_format_of_the_encoder(tmp_path):
    pipeline = tiny_pipeline(tmp_path)
    pipeline.weighted_captions = True
    pipeline.text_encoder.half()
    states = pipeline.encode_text(["(cat:1.3)"]).states
    assert states.dtype == torch.float16
    pipeline.weighted_captions = False
    plain = pipeline.encode_text(["cat"]).states
    assert torch.equal(states[0, 1], (plain[0, 1].float() * 1.3).half())
    assert torch.equal(states[0, 2:], plain[0, 2:])


@pytest.mark.parametrize("length", [0, 77, 100, 300])
def test_other_lengths_are_refused_and_those_that_work_named(length):
    with pytest.raises(ConfigError, match=f"max_token_length is {length}") as caught:
        ModelConfig(max_token_length=length)
    assert caught.value.fix == "use 75, 150 or 225"


@pytest.mark.parametrize("weighted", [False, True])
def test_tokens_are_counted_before_anything_is_cut(weighted, tmp_path):
    tokenizer = tiny_pipeline(tmp_path).tokenizer
    assert count_tokens(tokenizer, "", weighted=weighted) == 0
    assert count_tokens(tokenizer, "cat " * 300, weighted=weighted) == 300
    assert count_tokens(tokenizer, "(cat:2)", weighted=weighted) == (1 if weighted else 5)
