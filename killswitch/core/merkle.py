"""The Merkle tree over a log: one hash that stands for all of it, and short proofs about it (RFC 9162 2.1).

Owns roots, inclusion proofs, consistency proofs and the verification of both. Must not know what an entry is, who signs a root or
where proofs travel (``transparency``).

A leaf is SHA-256(0x00 || entry), a node SHA-256(0x01 || left || right); the prefixes keep a leaf from passing for a node. The tree of n
leaves splits at the largest power of two below n, so every subtree that a proof names begins at a multiple of a power of two that is at
least as long as it is: that is why whole subtrees can be kept and never change, and why no function here needs recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
PATH_MAX: Final = 128  # a longer path proves something about a log that cannot exist


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The root of a growing log in O(log n) memory: the whole subtrees that make up n, largest first. Enough to check, not to prove."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Take the next leaf hash. Merges one pair of equal subtrees for each binary carry: amortised one hash."""
        carry = self.size
        while carry & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            carry >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        return _fold(self._peaks)


class Tree:
    """All whole subtrees of a growing log, for roots and proofs at any size up to its own in O(log n) hashes.

    ``_levels[h][i]`` is the hash over leaves i * 2^h up to (i + 1) * 2^h; none of them ever changes.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Take the next leaf hash. Amortised one further hash."""
        height = 0
        while True:
            if height == len(self._levels):
                self._levels.append([])
            level = self._levels[height]
            level.append(leaf)
            if len(level) & 1:
                return
            leaf = node_hash(level[-2], leaf)
            height += 1

    def root(self, size: int | None = None) -> bytes:
        """The root of the first ``size`` leaves, of all if None. Raises `ValueError` for a size that the log has not reached."""
        return self._range(0, self._checked(self.size if size is None else size))

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """PATH(index, D[0:size]), RFC 9162 2.1.3.1. Raises `ValueError` unless 0 <= index < size <= what the log has."""
        self._checked(size)
        if not 0 <= index < size:
            raise ValueError(f"index: has to lie in 0..{size - 1} (got {index})")
        path = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                low = middle
        return tuple(reversed(path))

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """PROOF(first, D[0:second]), RFC 9162 2.1.4.1; empty for 0 and for equal sizes, of which there is nothing to prove.

        Raises `ValueError` unless 0 <= first <= second <= what the log has.
        """
        self._checked(second)
        if not 0 <= first <= second:
            raise ValueError(f"first: has to lie in 0..{second} (got {first})")
        if first in (0, second):
            return ()
        path = []
        low, high = 0, second
        while first != high:
            middle = low + _split(high - low)
            if first <= middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                low = middle
        if low:  # else the subtree is the whole first log, whose root the verifier has
            path.append(self._range(low, high))
        return tuple(reversed(path))

    def _range(self, low: int, high: int) -> bytes:
        """The hash over leaves ``low`` up to ``high``, where ``low`` is a multiple of a power of two no smaller than the length."""
        peaks = []
        while low < high:
            height = (high - low).bit_length() - 1
            peaks.append(self._levels[height][low >> height])
            low += 1 << height
        return _fold(peaks)

    def _checked(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise ValueError(f"size: has to lie in 0..{self.size} (got {size})")
        return size


def _fold(peaks: Sequence[bytes]) -> bytes:
    """The root above whole subtrees, largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def _split(size: int) -> int:
    """The largest power of two below ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


# -- verification ------------------------------------------------------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``leaf`` is the leaf hash at ``index`` of the log of ``size`` leaves with that ``root`` (RFC 9162 2.1.3.2). Total."""
    if not 0 <= index < size or not _well_formed((leaf, root, *path)):
        return False
    here, last = index, size - 1
    computed = leaf
    for step in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            computed = node_hash(step, computed)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, step)
        here >>= 1
        last >>= 1
    return last == 0 and computed == root


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the log of ``second`` leaves begins with that of ``first`` (RFC 9162 2.1.4.2). Total.

    The empty log begins every log, and a log begins itself; the proof of either is empty.
    """
    if not 0 <= first <= second or not _well_formed((first_root, second_root, *path)):
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    steps = list(path)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)
    if not steps:
        return False
    here, last = first - 1, second - 1
    while here & 1:
        here >>= 1
        last >>= 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            before = node_hash(step, before)
            after = node_hash(step, after)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            after = node_hash(after, step)
        here >>= 1
        last >>= 1
    return last == 0 and before == first_root and after == second_root


def _well_formed(hashes: Sequence[bytes]) -> bool:
    return len(hashes) <= PATH_MAX and all(isinstance(each, bytes) and len(each) == HASH_SIZE for each in hashes)
