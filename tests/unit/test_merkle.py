"""The Merkle tree against vectors that others published, and its verifiers against what is not a proof."""

from __future__ import annotations

import pytest

from killswitch.core import merkle
from killswitch.core.merkle import Frontier, Tree, leaf_hash, verify_consistency, verify_inclusion

# The eight entries, roots and proofs of the reference vectors of Certificate Transparency (RFC 6962 and RFC 9162 have the same tree).
ENTRIES = [bytes.fromhex(entry) for entry in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size): path
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (first, second): path
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.fixture
def tree() -> Tree:
    return Tree(map(leaf_hash, ENTRIES))


def unhex(path: list[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, path))


def test_roots_are_the_published_ones(tree: Tree) -> None:
    frontier = Frontier()
    assert frontier.root() == merkle.EMPTY_ROOT == Tree().root()
    for size, (entry, root) in enumerate(zip(ENTRIES, ROOTS, strict=True), start=1):
        frontier.append(leaf_hash(entry))
        assert frontier.root().hex() == root
        assert tree.root(size).hex() == root


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones(tree: Tree, index: int, size: int) -> None:
    path = unhex(INCLUSION[index, size])
    assert tree.inclusion(index, size) == path
    assert verify_inclusion(leaf_hash(ENTRIES[index]), index, size, path, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones(tree: Tree, first: int, second: int) -> None:
    path = unhex(CONSISTENCY[first, second])
    assert tree.consistency(first, second) == path
    assert verify_consistency(first, bytes.fromhex(ROOTS[first - 1]), second, bytes.fromhex(ROOTS[second - 1]), path)


def test_a_leaf_does_not_pass_for_a_node(tree: Tree) -> None:
    """Without the prefixes the two children of the root would be one entry of a log of size 1."""
    left, right = tree.root(4), tree.inclusion(0, 8)[-1]
    assert not verify_inclusion(leaf_hash(left + right), 0, 1, (), tree.root())


def test_sizes_that_the_log_does_not_have_are_local_mistakes(tree: Tree) -> None:
    for function, *arguments in ((tree.root, 9), (tree.root, -1), (tree.inclusion, 8, 8), (tree.inclusion, -1, 8), (tree.consistency, 5, 4)):
        with pytest.raises(ValueError, match="has to lie in"):
            function(*arguments)


def test_verifiers_are_total(tree: Tree) -> None:
    leaf, root, path = leaf_hash(ENTRIES[0]), tree.root(), tree.inclusion(0, 8)
    assert verify_inclusion(leaf, 0, 8, path, root)
    assert not verify_inclusion(leaf, -1, 8, path, root)
    assert not verify_inclusion(leaf, 8, 8, path, root)
    assert not verify_inclusion(leaf, 0, 0, (), root)
    assert not verify_inclusion(leaf[:-1], 0, 8, path, root)
    assert not verify_inclusion(leaf, 0, 8, (*path[:-1], b""), root)
    assert not verify_inclusion(leaf, 0, 1 << 200, (leaf,) * 1000, root)
    assert not verify_consistency(-1, root, 8, root, ())
    assert not verify_consistency(9, root, 8, root, ())
    assert not verify_consistency(0, root, 8, root, ())
    assert verify_consistency(0, merkle.EMPTY_ROOT, 8, root, ())
    assert not verify_consistency(0, merkle.EMPTY_ROOT, 8, root, path)
    assert not verify_consistency(3, tree.root(3), 8, root, ())
    assert not verify_consistency(8, root, 8, root, (root,))
    assert not verify_consistency(4, tree.root(4), 8, root, (b"x",))
