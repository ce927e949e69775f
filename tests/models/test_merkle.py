"""Merkle trees: every leaf has its path, and nothing else leads to the root."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.merkle import ProofSide, Step, climb, leaf_hash, merkle_paths, merkle_root, node_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

hashes = st.binary(min_size=32, max_size=32)
trees = st.lists(hashes, min_size=1, max_size=70)


def root_by_definition(leaves: Sequence[bytes]) -> bytes:
    """As RFC 6962 puts it: parted at the greatest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    at = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_by_definition(leaves[:at]) + root_by_definition(leaves[at:])).digest()


@given(trees)
def test_the_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == root_by_definition(leaves)


@given(trees)
@settings(deadline=None)
def test_the_path_of_every_leaf_leads_to_the_root(leaves: list[bytes]) -> None:
    root = merkle_root(leaves)
    for leaf, path in zip(leaves, merkle_paths(leaves, range(len(leaves))), strict=True):
        assert climb(leaf, path) == root
        assert len(path) <= (len(leaves) - 1).bit_length()


@given(trees, st.data())
def test_another_leaf_or_a_changed_path_leads_elsewhere(leaves: list[bytes], data: st.DataObject) -> None:
    root, index = merkle_root(leaves), data.draw(st.integers(0, len(leaves) - 1))
    [path] = merkle_paths(leaves, [index])
    other = data.draw(hashes.filter(lambda other: other != leaves[index]))
    assert climb(other, path) != root
    if not path:
        return
    at = data.draw(st.integers(0, len(path) - 1))
    step = path[at]
    assert climb(leaves[index], [*path[:at], *path[at + 1 :]]) != root
    wrong = Step(step.side, data.draw(hashes.filter(lambda other: other != step.hash)))
    assert climb(leaves[index], [*path[:at], wrong, *path[at + 1 :]]) != root
    turned = Step(ProofSide.LEFT if step.side is ProofSide.RIGHT else ProofSide.RIGHT, step.hash)
    below = climb(leaves[index], path[:at])
    assert (climb(leaves[index], [*path[:at], turned, *path[at + 1 :]]) == root) == (below == step.hash)


@given(trees, st.data())
def test_no_other_leaves_have_the_same_root(leaves: list[bytes], data: st.DataObject) -> None:
    others = data.draw(
        st.one_of(
            trees, st.permutations(leaves), st.just([*leaves, leaves[-1]]), st.just([*leaves, *leaves]),
            st.just(leaves[:-1] or [bytes(32)]),
        )  # fmt: skip
    )
    assert (merkle_root(others) == merkle_root(leaves)) == (others == leaves)


@given(hashes, hashes)
def test_a_node_cannot_pass_for_a_leaf(left: bytes, right: bytes) -> None:
    assert leaf_hash(left + right) != node_hash(left, right) != sha256(left + right).digest()


def test_nothing_has_no_root_and_no_path() -> None:
    with pytest.raises(ValueError, match="a leaf at least"):
        merkle_root([])
    for index in (-1, 2):
        with pytest.raises(IndexError):
            merkle_paths([bytes(32)] * 2, [index])
