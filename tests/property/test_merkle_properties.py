"""The Merkle tree against its definition, every size and every pair to 70, and its proofs against every way of bending them."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from killswitch.core.merkle import EMPTY_ROOT, Frontier, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

SIZE = 70
LEAVES = tuple(leaf_hash(bytes([number])) for number in range(SIZE))
TREE = Tree(LEAVES)


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


@cache
def root_of(low: int, high: int) -> bytes:
    """MTH as RFC 9162 2.1.1 defines it."""
    if high - low == 0:
        return EMPTY_ROOT
    if high - low == 1:
        return LEAVES[low]
    middle = low + split(high - low)
    return node_hash(root_of(low, middle), root_of(middle, high))


def path_of(index: int, low: int, high: int) -> tuple[bytes, ...]:
    """PATH as RFC 9162 2.1.3.1 defines it."""
    if high - low == 1:
        return ()
    middle = low + split(high - low)
    if index < middle:
        return (*path_of(index, low, middle), root_of(middle, high))
    return (*path_of(index, middle, high), root_of(low, middle))


def proof_of(first: int, low: int, high: int, whole: bool) -> tuple[bytes, ...]:
    """SUBPROOF as RFC 9162 2.1.4.1 defines it, on absolute positions."""
    if first == high:
        return () if whole else (root_of(low, high),)
    middle = low + split(high - low)
    if first <= middle:
        return (*proof_of(first, low, middle, whole), root_of(middle, high))
    return (*proof_of(first, middle, high, False), root_of(low, middle))


def test_roots_of_every_size() -> None:
    frontier = Frontier()
    for size in range(SIZE + 1):
        assert TREE.root(size) == Tree(LEAVES[:size]).root() == frontier.root() == root_of(0, size)
        if size < SIZE:
            frontier.append(LEAVES[size])


def test_inclusion_of_every_leaf_in_every_size() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            path = TREE.inclusion(index, size)
            assert path == path_of(index, 0, size)
            assert verify_inclusion(LEAVES[index], index, size, path, root_of(0, size))


def test_consistency_of_every_pair() -> None:
    for second in range(SIZE + 1):
        for first in range(second + 1):
            path = TREE.consistency(first, second)
            assert path == (proof_of(first, 0, second, True) if first not in (0, second) else ())
            assert verify_consistency(first, root_of(0, first), second, root_of(0, second), path)


hashes = st.one_of(st.sampled_from(LEAVES), st.integers(0, SIZE).map(lambda size: root_of(0, size)))
paths = st.lists(hashes, max_size=9).map(tuple)


@given(st.integers(0, SIZE - 1), st.integers(0, SIZE), hashes, paths, st.data())
def test_nothing_but_the_proof_proves_inclusion(index: int, size: int, leaf: bytes, path: tuple[bytes, ...], data: st.DataObject) -> None:
    if index < size:
        path = data.draw(bent(TREE.inclusion(index, size)) | st.just(path))
        leaf = data.draw(st.sampled_from((leaf, LEAVES[index])))
    truth = index < size and leaf == LEAVES[index] and path == path_of(index, 0, size)
    assert verify_inclusion(leaf, index, size, path, root_of(0, size)) == truth


@given(st.integers(0, SIZE), st.integers(0, SIZE), hashes, paths, st.data())
def test_nothing_but_the_proof_proves_consistency(first: int, second: int, root: bytes, path: tuple[bytes, ...], data: st.DataObject) -> None:
    if first <= second:
        path = data.draw(bent(TREE.consistency(first, second)) | st.just(path))
        root = data.draw(st.sampled_from((root, root_of(0, first))))
    truth = first <= second and root == root_of(0, first) and path == TREE.consistency(first, second)
    assert verify_consistency(first, root, second, root_of(0, second), path) == truth


def bent(path: tuple[bytes, ...]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """The path itself, or with an element changed, dropped, doubled, swapped or added."""
    places = st.integers(0, max(len(path) - 1, 0))
    return st.one_of(
        st.just(path),
        st.builds(lambda place, other: (*path[:place], other, *path[place + 1 :]), places, hashes),
        places.map(lambda place: (*path[:place], *path[place + 1 :])),
        places.map(lambda place: (*path[:place], *path[place : place + 1], *path[place:])),
        places.map(lambda place: (*path[: max(place - 1, 0)], *reversed(path[max(place - 1, 0) : place + 1]), *path[place + 1 :])),
        hashes.map(lambda other: (*path, other)),
    )
