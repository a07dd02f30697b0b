"""CLIP's tokenizer, built from the vocabulary in the package."""

from __future__ import annotations

import pytest

from lycoris_ext.models.tokenizer import clip_tokenizer, clip_vocabulary

END, EXCLAMATION_MARK = 49407, 256


@pytest.fixture(scope="module", params=[END, 0])
def tokenizer(request):
    return clip_tokenizer(request.param), request.param


def ids(tokenizer, text, length=77):
    return tokenizer(text, padding="max_length", truncation=True, max_length=length).input_ids


def test_token_ids_are_those_of_openais_tokenizer(tokenizer):
    built, padding = tokenizer
    expected = [49406, 320, 1125, 539, 320, 2368, 267, 272, 1611, END]
    assert ids(built, "a photo of a cat, 1girl") == expected + [padding] * 67
    assert ids(built, "") == [49406, END] + [padding] * 75
    assert built.model_max_length == 77
    assert built.pad_token_id == padding
    assert len(built) == 49408


def test_an_exclamation_mark_is_no_padding(tokenizer):
    """OpenCLIP pads with id 0, which is "!" inside of a word; at the end it has another id."""
    built, _ = tokenizer
    assert ids(built, "wow!")[:4] == [49406, 2781, EXCLAMATION_MARK, END]


def test_long_texts_are_cut_to_77_tokens(tokenizer):
    built, _ = tokenizer
    cut = ids(built, "cat " * 200)
    assert cut == [49406] + [2368] * 75 + [END]


def test_case_is_ignored_and_letters_of_other_languages_are_no_padding(tokenizer):
    built, padding = tokenizer
    assert ids(built, "A  CAT\n") == ids(built, "a cat")
    assert padding not in ids(built, "初音ミク naïve", 20)[1:12]


def test_the_vocabulary_has_the_tokens_and_merges_of_clip():
    tokens, merges = clip_vocabulary()
    assert len(tokens) == 49408
    assert sorted(tokens.values()) == list(range(49408))
    assert (tokens["!"], tokens["!</w>"], tokens["cat</w>"]) == (0, EXCLAMATION_MARK, 2368)
    assert (tokens["<|startoftext|>"], tokens["<|endoftext|>"]) == (49406, END)
    assert merges[0] == "i n"
    assert len(merges) == 48894
