"""Merkle trees over any number of leaves, as RFC 6962 ("Certificate Transparency"), section 2.1, makes them.

A leaf is SHA-256 of a zero byte and its content, a node SHA-256 of a one byte and its two children, so that neither
passes for the other. A node without a neighbour goes up as it is: no leaf counts twice.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HASH_LENGTH = 32


class ProofSide(StrEnum):
    """On which side a neighbour stands."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"


class Step(NamedTuple):
    """One step up from a leaf: the neighbour's hash, and on which side of us it stands."""

    side: ProofSide
    hash: bytes


def leaf_hash(content: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbours."""
    return sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of one or more leaves, in their order.

    Raises: ValueError for none.
    """
    if not leaves:
        raise ValueError("a tree has a leaf at least")
    *_, top = _levels(leaves)
    return top[0]


def merkle_paths(leaves: Sequence[bytes], indexes: Iterable[int]) -> list[list[Step]]:
    """The steps from some of the leaves up to the root.

    Raises: IndexError where there is no such leaf.
    """
    levels = list(_levels(leaves))
    return [_path(levels, index) for index in indexes]


def climb(leaf: bytes, path: Iterable[Step]) -> bytes:
    """The root that a leaf's hash and its path lead to."""
    for step in path:
        leaf = node_hash(step.hash, leaf) if step.side is ProofSide.LEFT else node_hash(leaf, step.hash)
    return leaf


def _path(levels: Sequence[Sequence[bytes]], index: int) -> list[Step]:
    if not 0 <= index < len(levels[0]):
        raise IndexError("there is no such leaf")
    steps: list[Step] = []
    for level in levels:
        neighbour = index ^ 1
        if neighbour < len(level):
            steps.append(Step(ProofSide.LEFT if neighbour < index else ProofSide.RIGHT, level[neighbour]))
        index //= 2
    return steps


def _levels(leaves: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The tree from its leaves up to its root."""
    level = leaves
    while len(level) > 1:
        yield level
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = above + list(level[-1:]) if len(level) % 2 else above
    yield level
