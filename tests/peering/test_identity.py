"""A factory's key: made once, private, and nobody else's."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.peering.identity import FILE, IdentityError, decoded, fingerprint, open_identity


def test_an_identity_is_made_once_and_read_back(tmp_path: Path):
    first, second = open_identity(tmp_path), open_identity(tmp_path)
    assert first.key == second.key
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_signature_is_that_of_one_key_over_one_body(tmp_path: Path):
    (tmp_path / "other").mkdir()
    mine, other = open_identity(tmp_path), open_identity(tmp_path / "other")
    signature = mine.sign(b"body")
    assert other.verify(mine.key, b"body", signature)
    assert not other.verify(mine.key, b"Body", signature)
    assert not other.verify(other.key, b"body", signature)
    assert mine.sign(b"body") == signature, "the same answer, however often it is asked for"


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path):
    open_identity(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(IdentityError, match="can be read by others"):
        open_identity(tmp_path)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_holds_no_key_is_named_and_left_alone(tmp_path: Path, body: bytes):
    (tmp_path / FILE).write_bytes(body)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(IdentityError, match="holds no private key"):
        open_identity(tmp_path)
    assert (tmp_path / FILE).read_bytes() == body


def test_the_private_key_is_in_no_text_about_it(tmp_path: Path):
    identity = open_identity(tmp_path)
    private = base64.b64encode(identity.private.private_bytes_raw()).decode()
    assert private not in repr(identity)
    assert fingerprint(identity.key).count(" ") == 7


@given(st.text(max_size=100), st.binary(max_size=20), st.text(max_size=100))
def test_verifying_never_raises(key: str, body: bytes, signature: str):
    with pytest.MonkeyPatch.context():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from tawtin.peering.identity import Identity

        identity = Identity(Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
        assert not identity.verify(key, body, signature)
        assert not identity.verify(identity.key, body, signature)


@pytest.mark.parametrize("text", ["", "QQ==", "Q" * 44, "A" * 43 + "=\n", "A" * 42 + "B="])
def test_only_strict_base64_of_the_right_size_is_a_key(text: str):
    assert decoded(text, 32) is None
