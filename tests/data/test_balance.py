"""Folder trees, and sharing an epoch among their folders."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data.balance import balance, read_weights
from lycoris_ext.data.folder_tree import FolderTree, Leaf, read_tree
from lycoris_ext.data.rebalance import JOURNAL, changes, take_back, write_repeats
from lycoris_ext.errors import DataError, EnvironmentFault

SEED = {
    "17_characters~fanart~OyamaMihari": 53,
    "19_characters~fanart~OyamaMahiro+OyamaMihari": 47,
    "1_artists~kantoku": 2190,
    "24_characters~fanart~Anisphia": 37,
    "28_characters~screenshots~Anisphia+Tilty": 24,
    "2_artists~ke-ta": 738,
    "2_artists~momoko": 762,
    "2_characters~screenshots~Euphyllia": 235,
    "3_characters~fanart~OyamaMahiro": 299,
    "3_characters~screenshots~Anisphia": 217,
    "3_characters~screenshots~OyamaMahiro": 210,
    "3_characters~screenshots~OyamaMahiro+OyamaMihari": 199,
    "3_characters~screenshots~OyamaMihari": 177,
    "4_characters~screenshots~Anisphia+Euphyllia": 165,
    "57_characters~fanart~Euphyllia": 16,
    "5_artists~mochizuki_kei": 426,
    "5_artists~onono_imoko": 373,
    "7_characters~screenshots~Tilty": 95,
    "9_characters~fanart~Anisphia+Euphyllia": 97,
}
"""The composition of the data set of the LyCORIS experiments: folder -> pictures."""


def _made(root: Path, folders: Mapping[str, int]) -> Path:
    for name, number in folders.items():
        folder = root / name
        folder.mkdir(parents=True)
        for one in range(number):
            (folder / f"{one:05}.png").touch()
    return root


def _tree(pictures: Mapping[tuple[str, ...], int]) -> FolderTree:
    """Return a tree without files: levels -> number of pictures."""
    root = Path("root")
    leaves = [
        Leaf(root.joinpath(*levels), levels, 1, tuple(map(str, range(number))))
        for levels, number in sorted(pictures.items())
    ]
    return FolderTree(root, True, tuple(leaves))


def _state_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_seeds_folders_are_read_as_levels_concepts_and_weighted_samples(tmp_path: Path) -> None:
    tree = read_tree(_made(tmp_path, SEED))
    assert not tree.is_nested
    assert len(tree.leaves) == 19
    assert sum(len(leaf.pictures) for leaf in tree.leaves) == 6_360
    assert sum(leaf.weighted for leaf in tree.leaves) == 19_425

    def weighted(*levels: str) -> float:
        return sum(leaf.weighted for leaf in tree.leaves if leaf.levels[: len(levels)] == levels)

    assert weighted("characters", "fanart") == 5_364
    assert weighted("characters", "screenshots") == 4_876
    assert weighted("artists") == 9_185
    both = [leaf for leaf in tree.leaves if leaf.concepts == ("Anisphia", "Tilty")]
    assert [leaf.levels for leaf in both] == [("characters", "screenshots", "Anisphia+Tilty")]


@pytest.mark.parametrize(("rounding", "equal"), [("floor", 19), ("nearest", 12)])
def test_floor_gives_all_19_repeats_of_the_seed_and_nearest_12(
    tmp_path: Path, rounding: str, equal: int
) -> None:
    shares = balance(read_tree(_made(tmp_path, SEED)), rounding=rounding)
    assert sum(share.repeats == share.leaf.repeats for share in shares) == equal


def test_every_level_is_shared_equally_and_a_folders_own_pictures_are_one_more_child() -> None:
    tree = _tree({("a",): 10, ("a", "x"): 5, ("a", "y"): 5, ("b",): 1})
    chances = {share.leaf.levels: share.probability for share in balance(tree)}
    assert chances == {
        ("a",): Fraction(1, 6),
        ("a", "x"): Fraction(1, 6),
        ("a", "y"): Fraction(1, 6),
        ("b",): Fraction(1, 2),
    }


def test_weights_go_by_the_name_first_and_then_by_the_first_pattern_that_fits() -> None:
    tree = _tree({("x", "small"): 1, ("x", "face_1"): 1, ("y", "face_2"): 1, ("y", "rest"): 1})
    weights = {"*/face_*": Fraction(3), "x": Fraction(2), "face_2": Fraction(1, 2)}
    chances = {share.leaf.levels: share.probability for share in balance(tree, weights)}
    assert chances[("x", "face_1")] == Fraction(2, 3) * Fraction(3, 4)
    assert chances[("y", "face_2")] == Fraction(1, 3) * Fraction(1, 3)


def test_weights_of_zero_leave_a_folder_out_and_cannot_leave_all_out() -> None:
    tree = _tree({("a",): 4, ("b",): 2})
    repeats = {share.leaf.levels: share.repeats for share in balance(tree, {"a": Fraction(0)})}
    assert repeats == {("a",): 0, ("b",): 1}
    with pytest.raises(DataError, match="weights are 0"):
        balance(tree, {"a": Fraction(0), "b": Fraction(0)})


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple),
        st.integers(1, 50),
        min_size=1,
        max_size=12,
    ),
    st.dictionaries(st.sampled_from("abc"), st.fractions(Fraction(1, 8), 8, max_denominator=8)),
)
def test_shares_add_up_to_one_and_follow_the_weights_at_every_level(
    pictures: dict[tuple[str, ...], int], weights: dict[str, Fraction]
) -> None:
    shares = balance(_tree(pictures), weights, most=10**9)
    assert sum(share.probability for share in shares) == 1
    assert min(share.exact for share in shares) == 1
    for share in shares:
        assert share.repeats == math.floor(share.exact)
        assert share.exact * shares[0].probability * len(share.leaf.pictures) == (
            share.probability * shares[0].exact * len(shares[0].leaf.pictures)
        )

    def whole(levels: tuple[str, ...]) -> Fraction:
        below = (one for one in shares if one.leaf.levels[: len(levels)] == levels)
        return sum((one.probability for one in below), Fraction(0))

    for levels in pictures:
        siblings = {
            (*levels[:-1], other[len(levels) - 1])
            for other in pictures
            if len(other) >= len(levels) and other[: len(levels) - 1] == levels[:-1]
        }
        for sibling in siblings:
            weight, mine = weights.get(sibling[-1], 1), weights.get(levels[-1], 1)
            assert whole(sibling) * mine == whole(levels) * weight


def test_nested_folders_with_multiply_are_levels_whatever_their_names_begin_with(
    tmp_path: Path,
) -> None:
    _made(tmp_path, {"screenshots/1_character/Aoi": 2, "screenshots/0_characters": 3})
    (tmp_path / "screenshots/1_character/Aoi/multiply.txt").write_text("2.5\n")
    tree = read_tree(tmp_path)
    assert tree.is_nested
    assert [(leaf.levels, leaf.repeats) for leaf in tree.leaves] == [
        (("screenshots", "0_characters"), 1),
        (("screenshots", "1_character", "Aoi"), 2.5),
    ]


@pytest.mark.parametrize("text", ["", "two", "nan", "-1", "1e9", "0x10", "\0", "9" * 5000])
def test_a_multiply_that_is_no_number_in_range_is_told_with_its_file(
    tmp_path: Path, text: str
) -> None:
    _made(tmp_path, {"a": 1, "b": 1})
    for name in "ab":
        (tmp_path / name / "multiply.txt").write_text(text)
    with pytest.raises(DataError, match="2 things are wrong") as caught:
        read_tree(tmp_path)
    assert str(tmp_path / "a" / "multiply.txt") in str(caught.value)


def test_hidden_folders_other_files_and_circles_of_links_are_passed_over(tmp_path: Path) -> None:
    _made(tmp_path, {"a": 1, ".hidden": 1, "__MACOSX": 1, "a/deep": 1})
    (tmp_path / "a" / "note.txt").touch()
    if os.name != "nt":
        (tmp_path / "a" / "deep" / "circle").symlink_to(tmp_path)
    assert [leaf.levels for leaf in read_tree(tmp_path).leaves] == [("a",), ("a", "deep")]


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture in this folder or below"):
        read_tree(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_tree(tmp_path / "nowhere")


def test_repeats_go_into_names_and_back_without_touching_a_file(tmp_path: Path) -> None:
    root = _made(tmp_path, {"1_a~b+c": 3, "4_a~d": 6, "9_e": 1})
    (root / "4_a~d" / "00000.txt").write_text("a caption")
    before = _state_of(root)
    tree = read_tree(root)
    shares = balance(tree)
    write_repeats(tree, changes(tree, {share.leaf.folder: share.repeats for share in shares}))
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert names == ["12_e", "1_a~d", "2_a~b+c"]
    # A second balance remembers what was there before the first.
    tree = read_tree(root)
    write_repeats(tree, changes(tree, {leaf.folder: 7 for leaf in tree.leaves}))
    assert take_back(root) == 3
    assert _state_of(root) == before
    with pytest.raises(DataError, match="nothing to take back"):
        take_back(root)


def test_repeats_go_into_multiply_and_back(tmp_path: Path) -> None:
    root = _made(tmp_path, {"a/x": 3, "a/y": 2, "b": 7})
    (root / "a/x/multiply.txt").write_text("4 \r\n")
    before = _state_of(root)
    tree = read_tree(root)
    shares = balance(tree, rounding="fractional")
    write_repeats(tree, changes(tree, {share.leaf.folder: share.repeats for share in shares}))
    read = {leaf.levels: leaf.repeats for leaf in read_tree(root).leaves}
    assert read == {("a", "x"): 1.17, ("a", "y"): 1.75, ("b",): 1}
    take_back(root)
    assert _state_of(root) == before


def test_what_names_cannot_hold_is_refused_before_anything_is_renamed(tmp_path: Path) -> None:
    root = _made(tmp_path, {"1_a": 3, "2_a": 4, "1_b": 2})
    tree = read_tree(root)
    with pytest.raises(DataError, match="several folders would be named '5_a'"):
        changes(tree, {leaf.folder: 5 for leaf in tree.leaves})
    tree = read_tree(_made(tmp_path / "other", {"1_a": 3, "1_b": 4}))
    with pytest.raises(DataError, match="no whole number"):
        changes(tree, {leaf.folder: 1.5 for leaf in tree.leaves})


def test_a_balance_that_fails_halfway_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _made(tmp_path, {"1_a": 3, "1_b": 4, "1_c": 2})
    before = _state_of(root)
    tree = read_tree(root)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "1_b":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(EnvironmentFault, match="cannot be renamed to 2_b"):
        write_repeats(tree, changes(tree, {leaf.folder: 2 for leaf in tree.leaves}))
    monkeypatch.undo()
    assert (root / "2_a").is_dir()
    assert (root / JOURNAL).is_file()
    assert take_back(root) == 1
    assert _state_of(root) == before


def test_weights_are_read_as_their_author_writes_them_and_all_bad_rows_are_told(
    tmp_path: Path,
) -> None:
    file = tmp_path / "weights.csv"
    file.write_text("\ufeffscreenshots,3\n1_character, 1.5\n*/face_25-50,1.2\n\n0_characters,0.5\n")
    assert read_weights(file) == {
        "screenshots": 3,
        "1_character": Fraction(3, 2),
        "*/face_25-50": Fraction(6, 5),
        "0_characters": Fraction(1, 2),
    }
    file.write_text("a,1\nb,two\nc\nd,-1\ne,inf\nf,1,2\n")
    with pytest.raises(DataError, match="5 things are wrong") as caught:
        read_weights(file)
    assert "row 2" in str(caught.value)
    file.write_bytes(b"\xff\xfe\0a")
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        read_weights(file)
