"""What differs between two data sets is found and told, whatever it is."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data.differences import differences
from lycoris_ext.data.fingerprint import Entry, ListedSubset, Manifest

PLAIN = ListedSubset("", [], {})


def manifest(*entries: Entry, subsets: tuple[ListedSubset, ...] = (PLAIN,), **options) -> Manifest:
    return Manifest(options, subsets, entries)


def entry(
    name: str,
    digest: str = "",
    caption: str | list[list[str]] = "",
    repeats: float = 1,
    subset: int = 0,
):
    return Entry(name, digest or name, caption, repeats, subset)


def told(before: Manifest, after: Manifest, limit: int = 10) -> list[str]:
    return list(differences(before, after).lines(limit))


def test_new_missing_changed_and_renamed_pictures_are_told() -> None:
    before = manifest(entry("1_a/0"), entry("1_a/1"), entry("1_a/2"), entry("1_a/3"))
    after = manifest(entry("1_a/0"), entry("1_a/1", "x"), entry("1_a/9", "1_a/2"), entry("1_a/8"))
    assert told(before, after) == [
        "1_a/1: the picture changed",
        "1_a/2: is called 1_a/9 now",
        "1_a/3: is gone",
        "1_a/8: is new",
    ]
    summary = differences(before, after).summary
    assert summary == (
        "1 picture is new, 1 picture is gone, 1 picture has another name, 1 picture changed"
    )


def test_a_caption_is_compared_tag_by_tag() -> None:
    before = manifest(entry("a", caption="1girl, solo, hat, hat"), entry("b", caption="x, y"))
    after = manifest(entry("a", caption="1girl, duo, hat"), entry("b", caption="y, x"))
    assert told(before, after) == [
        "a: its caption changed",
        "  - solo, hat",
        "  + duo",
        "b: its caption changed",
        "  = y, x",
    ]


def test_a_mask_is_told_apart_from_its_picture() -> None:
    before = manifest(entry("a", "1 2"), entry("b", "1"), entry("c", "1 2"))
    after = manifest(entry("a", "1 3"), entry("b", "1 2"), entry("c", "2 3"))
    assert told(before, after) == [
        "a: its mask changed",
        "b: its mask changed",
        "c: the picture and its mask changed",
    ]


def test_captions_built_of_fields_are_compared_by_their_tags() -> None:
    before = manifest(entry("a", caption=[["npeople", "1girl"], ["tags", "hat, solo"]]))
    after = manifest(entry("a", caption=[["npeople", "2girls"], ["tags", "hat, solo"]]))
    assert told(before, after)[1:] == ["  - 1girl", "  + 2girls"]


def test_tags_are_split_at_the_mark_of_the_data_set() -> None:
    before = manifest(entry("a", caption="one; two, too"), caption_separator=";")
    after = manifest(entry("a", caption="one; three"), caption_separator=";")
    assert told(before, after)[1:] == ["  - two, too", "  + three"]
    subset = ListedSubset("", [], {"keep_tokens_separator": "|||"})
    before = manifest(entry("a", caption="one ||| two"), subsets=(subset,))
    after = manifest(entry("a", caption="one ||| three"), subsets=(subset,))
    assert told(before, after)[1:] == ["  - two", "  + three"]


def test_other_repeats_are_told_of_the_folder_and_not_as_other_pictures() -> None:
    before = manifest(entry("10_a/0", "x", repeats=10), entry("10_a/1", "y", repeats=10))
    after = manifest(entry("5_a/0", "x", repeats=5), entry("5_a/1", "y", repeats=5))
    assert told(before, after) == ["5_a: 5 repeats, were 10 (2 pictures)"]


def test_a_folder_that_was_renamed_is_told_once() -> None:
    before = manifest(entry("1_a/0", "x"), entry("1_a/1", "y"))
    after = manifest(entry("1_b/0", "x"), entry("1_b/1", "y"))
    assert told(before, after) == ["1_a: 2 pictures of it are in 1_b now"]
    found = differences(before, after)
    assert found.renamed == [("1_a/0", "1_b/0"), ("1_a/1", "1_b/1")]


def test_an_option_of_all_folders_is_told_once_and_one_of_a_folder_with_it() -> None:
    folders = (ListedSubset("a", [], {}), ListedSubset("b", [], {"keep_tokens": 1}))
    pictures = entry("0", subset=0), entry("0", subset=1)
    before = manifest(*pictures, subsets=folders, flip_aug=True)
    folders = (ListedSubset("a", [], {}), ListedSubset("b", [], {"keep_tokens": 2}))
    after = manifest(*pictures, subsets=folders)
    assert told(before, after) == [
        "flip_aug is false, was true",
        "b: keep_tokens is 2, was 1",
    ]


def test_an_option_that_is_set_elsewhere_is_the_same_with_another_fingerprint() -> None:
    own = (ListedSubset("", [], {"keep_tokens": 1}),)
    before, after = manifest(entry("a"), subsets=own), manifest(entry("a"), keep_tokens=1)
    found = differences(before, after)
    assert found.reordered and "set in another place" in found.summary


def test_another_order_of_folders_is_noticed() -> None:
    before, after = manifest(entry("a"), entry("b")), manifest(entry("b"), entry("a"))
    assert differences(before, after).reordered
    assert not differences(before, before)


def test_regularisation_is_compared_apart() -> None:
    subsets = (PLAIN, ListedSubset("", ["reg"], {}))
    before = manifest(entry("a", "x"), entry("b", "y", subset=1), subsets=subsets)
    after = manifest(entry("b", "y"), entry("a", "x", subset=1), subsets=subsets)
    assert sorted(differences(before, after).added) == ["a", "b"]


def test_a_picture_that_is_held_out_now_is_told() -> None:
    subsets = (PLAIN, ListedSubset("", ["held out"], {}))
    before = manifest(entry("a", repeats=5), entry("b", subset=1), subsets=subsets)
    after = manifest(entry("b", repeats=5), entry("a", subset=1), subsets=subsets)
    assert told(before, after) == [
        "a: its use (training or validation) changed",
        "b: its use (training or validation) changed",
    ]


def test_pictures_of_one_name_and_copies_are_compared_in_order() -> None:
    """The same folder in two subsets at two resolutions has every picture twice."""
    subsets = (PLAIN, ListedSubset("", [], {"resolution": 64}))
    both = entry("a", "x", "one"), entry("a", "x", "one", subset=1)
    assert not differences(manifest(*both, subsets=subsets), manifest(*both, subsets=subsets))
    other = entry("a", "x", "one"), entry("a", "x", "two", subset=1)
    found = differences(manifest(*both, subsets=subsets), manifest(*other, subsets=subsets))
    assert len(found.captions) == 1 and not found.added and not found.renamed


def test_many_changes_are_counted() -> None:
    after = manifest(*(entry(f"{number:02d}") for number in range(12)))
    assert told(manifest(), after, 2) == ["00: is new", "01: is new", "and 10 more pictures"]


names = st.sampled_from(["1_a/0", "1_a/1", "2_a/0", "2_b/1", "c"])
entries = st.builds(
    Entry, names, st.sampled_from("xyz"), st.sampled_from(["", "a, b", "b, a", "c"]),
    st.sampled_from([1, 2]), st.just(0)
)  # fmt: skip
manifests = st.lists(entries, max_size=6).map(lambda found: manifest(*found))


@given(manifests, manifests)
def test_every_picture_is_counted_once_and_something_is_told_exactly_if_it_differs(
    before: Manifest, after: Manifest
) -> None:
    found = differences(before, after)
    assert bool(found) == (before.fingerprint != after.fingerprint)
    stayed = len(before.entries) - len(found.removed)
    assert stayed == len(after.entries) - len(found.added)
    assert found.summary != "nothing changed" or not found
    for old, new in found.renamed:
        assert PurePosixPath(old) != PurePosixPath(new)
    assert bool(list(found.lines(3))) == (bool(found) and not found.reordered)
