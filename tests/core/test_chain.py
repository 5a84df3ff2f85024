"""The Merkle tree against published vectors, and against the definition of RFC 9162 written out as it stands."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.core.chain import (
    EMPTY_ROOT,
    Chain,
    consistency_proof,
    continues,
    includes,
    inclusion_proof,
    leaf_hash,
    unpack_chain,
)

# The eight leaves that implementations of RFC 6962 share as test data, and the roots of the trees over the first n.
LEAVES = [
    leaf_hash(bytes.fromhex(text))
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

hashes = st.lists(st.binary(max_size=4).map(leaf_hash), max_size=70)


def tree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree(leaves[:k])]


def proof(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [tree(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*proof(m, leaves[:k], whole), tree(leaves[k:])]
    return [*proof(m - k, leaves[k:], False), tree(leaves[:k])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert Chain().extended(LEAVES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "want"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int, want: list[str]) -> None:
    assert [step.hex() for step in inclusion_proof(LEAVES[:size], index)] == want


@pytest.mark.parametrize(
    ("earlier", "size", "want"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_consistency_proofs_are_the_published_ones(earlier: int, size: int, want: list[str]) -> None:
    assert [step.hex() for step in consistency_proof(LEAVES[:size], earlier)] == want


@given(leaves=hashes, cuts=st.lists(st.integers(0, 70), max_size=5))
def test_the_root_does_not_depend_on_how_leaves_arrive(leaves: list[bytes], cuts: list[int]) -> None:
    chain, at = Chain(), 0
    for cut in [*sorted(cuts), len(leaves)]:
        chain = unpack_chain(chain.size, chain.packed()).extended(leaves[at:cut])
        at = max(at, min(cut, len(leaves)))
    assert (chain.size, chain.root()) == (len(leaves), tree(leaves))


@given(leaves=hashes.filter(bool), data=st.data())
def test_inclusion_proofs_verify_and_nothing_else_does(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    steps = list(inclusion_proof(leaves, index))
    root, leaf, size = tree(leaves), leaves[index], len(leaves)
    assert steps == path(index, leaves)
    assert includes(root=root, size=size, index=index, leaf=leaf, proof=steps)

    assert not includes(root=root, size=size, index=index, leaf=leaf_hash(b"forged leaf"), proof=steps)
    assert not includes(root=leaf_hash(b"other root"), size=size, index=index, leaf=leaf, proof=steps)
    assert not includes(root=root, size=size, index=index, leaf=leaf, proof=[*steps, leaf])
    assert not includes(root=root, size=size, index=size, leaf=leaf, proof=steps)
    assert not includes(root=root, size=size, index=-1, leaf=leaf, proof=steps)
    if steps:
        spoiled = data.draw(st.integers(0, len(steps) - 1))
        assert not includes(root=root, size=size, index=index, leaf=leaf, proof=steps[1:])
        steps[spoiled] = leaf_hash(b"forged step")
        assert not includes(root=root, size=size, index=index, leaf=leaf, proof=steps)


@given(leaves=hashes.filter(bool), data=st.data())
def test_any_changed_leaf_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves]
    changed[index] = leaf_hash(b"changed")
    assert Chain().extended(changed).root() != Chain().extended(leaves).root()


@given(leaves=hashes, data=st.data())
def test_consistency_proofs_verify_and_a_rewritten_past_does_not(
    leaves: list[bytes], data: st.DataObject
) -> None:
    earlier = data.draw(st.integers(0, len(leaves)))
    steps = list(consistency_proof(leaves, earlier))
    old, new, size = tree(leaves[:earlier]), tree(leaves), len(leaves)
    if earlier:
        assert steps == proof(earlier, leaves)
    assert continues(earlier=earlier, earlier_root=old, size=size, root=new, proof=steps)

    assert not continues(earlier=earlier, earlier_root=old, size=size, root=new, proof=[*steps, new])
    assert not continues(earlier=size + 1, earlier_root=old, size=size, root=new, proof=steps)
    if earlier:
        rewritten = [*leaves]
        rewritten[data.draw(st.integers(0, earlier - 1))] = leaf_hash(b"rewritten")
        forged = list(consistency_proof(rewritten, earlier))
        for attempt in (steps, forged):
            assert not continues(
                earlier=earlier, earlier_root=old, size=size, root=tree(rewritten), proof=attempt
            )
    if steps:
        spoiled = data.draw(st.integers(0, len(steps) - 1))
        assert not continues(earlier=earlier, earlier_root=old, size=size, root=new, proof=steps[1:])
        steps[spoiled] = leaf_hash(b"forged step")
        assert not continues(earlier=earlier, earlier_root=old, size=size, root=new, proof=steps)


def test_every_log_continues_the_empty_one_and_no_other_root_is_the_empty_one() -> None:
    assert continues(earlier=0, earlier_root=EMPTY_ROOT, size=8, root=tree(LEAVES), proof=())
    assert not continues(earlier=0, earlier_root=tree(LEAVES), size=8, root=tree(LEAVES), proof=())


@pytest.mark.parametrize("index", [-1, 8])
def test_an_entry_that_is_not_there_has_no_proof(index: int) -> None:
    with pytest.raises(ValueError, match=f"a log of 8 entries has no entry {index}"):
        inclusion_proof(LEAVES, index)


@pytest.mark.parametrize("earlier", [-1, 9])
def test_a_log_that_was_never_so_long_has_no_proof(earlier: int) -> None:
    with pytest.raises(ValueError, match=f"a log of 8 entries was never {earlier} long"):
        consistency_proof(LEAVES, earlier)


@pytest.mark.parametrize(("size", "count"), [(-1, 0), (0, 1), (3, 1), (4, 2), (1, 0)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="has no frontier of"):
        unpack_chain(size, b"\0" * 32 * count)
