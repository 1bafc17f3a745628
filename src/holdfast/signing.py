"""Ed25519 signatures: over heads of the audit log. The cryptography library (extra: signing) enters
here and nowhere else.

A key is named by reference: the path of a PEM file, or ``env:NAME`` of a variable that holds the
PEM text. It is read when it is used, and never logged.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfast.errors import InputError
from holdfast.model.heads import LARGEST, Head, Signature, SignedHead

ALGORITHM = "ed25519"
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_LARGEST_KEY = 1024 * 1024


def make_pair(path: Path) -> tuple[Path, str]:
    """Make a key pair: the private key in a new file that its owner alone can read, the public one
    beside it in ``PATH.pub``.

    Returns:
        The public key's file, and the name of the key.

    Raises:
        InputError: one of the files is there already, or cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    hidden = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(path.name + ".pub")
    for file in (path, beside):
        if file.exists():
            raise InputError(
                f"{file} is there already: name another file, and keep old public keys, with "
                "which old heads are verified"
            )
    _write_new(path, hidden, 0o600)
    _write_new(beside, public, 0o644)
    return beside, name_of(private.public_key())


def sign(head: Head, reference: str) -> bytes:
    """A signed head as the bytes of its file.

    Args:
        head: what to sign.
        reference: names the private key: a path, or ``env:NAME``.

    Raises:
        InputError: the key cannot be read, or is none.
    """
    key = _private(reference)
    signature = Signature(ALGORITHM, name_of(key.public_key()), key.sign(head.signed_bytes()).hex())
    return (
        msgspec.json.format(
            msgspec.json.encode(SignedHead(head, signature), order="deterministic"), indent=1
        )
        + b"\n"
    )


def verify(data: bytes, keys: Iterable[Ed25519PublicKey]) -> Head:
    """The head in a file, if one of these keys has signed it.

    Raises:
        InputError: it is no signed head, another key has signed it, or it was changed afterwards;
            the message says which.
    """
    if len(data) > LARGEST:
        raise InputError(f"it is larger than {LARGEST:,} bytes: it is no signed head")
    try:
        signed = msgspec.json.decode(data, type=SignedHead)
        value = bytes.fromhex(signed.signature.value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"it is no signed head of an audit log: {error}") from None
    known = {name_of(key): key for key in keys}
    key = known.get(signed.signature.key)
    if signed.signature.algorithm != ALGORITHM or key is None:
        named = ", ".join(known) or "none"
        raise InputError(
            f"it was signed with key {signed.signature.key[:16]!r}, which is none of those "
            f"given ({named}): give that one with --key"
        )
    try:
        key.verify(value, signed.head.signed_bytes())
    except InvalidSignature:
        raise InputError(
            f"its signature by key {signed.signature.key} is wrong: the file was changed "
            "after it was signed, or forged"
        ) from None
    return signed.head


def public_keys(paths: Iterable[Path]) -> list[Ed25519PublicKey]:
    """The public keys in files, each with one or more in PEM.

    Raises:
        InputError: a file cannot be read, or has no such key.
    """
    found = []
    for path in paths:
        blocks = [
            match
            for match in _PEM.finditer(_text(path, f"the public key {path}"))
            if match[1] == "PUBLIC KEY"
        ]
        if not blocks:
            raise InputError(
                f"{path} has no public key in PEM: it begins with -----BEGIN PUBLIC KEY-----, "
                "as `holdfast ledger key` writes it"
            )
        for block in blocks:
            try:
                key = serialization.load_pem_public_key(block[0].encode())
            except (ValueError, UnsupportedAlgorithm):
                raise InputError(f"{path} has a public key that cannot be read") from None
            if not isinstance(key, Ed25519PublicKey):
                raise InputError(f"{path} has a public key of another kind than Ed25519")
            found.append(key)
    return found


def public_of(reference: str) -> Ed25519PublicKey:
    """The public key that belongs to a private one.

    Raises:
        InputError: the key cannot be read, or is none.
    """
    return _private(reference).public_key()


def name_of(key: Ed25519PublicKey) -> str:
    """The name of a key: the first 16 hexadecimal digits of its SHA-256."""
    return sha256(
        key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    ).hexdigest()[:16]


def _private(reference: str) -> Ed25519PrivateKey:
    if reference.startswith("env:"):
        name = reference.removeprefix("env:")
        text = os.environ.get(name, "")
        if not text:
            raise InputError(
                f"HOLDFAST_SIGNING_KEY={reference}: there is no environment variable {name}"
            )
    else:
        path = Path(reference)
        text = _text(path, f"HOLDFAST_SIGNING_KEY={reference}")
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise InputError(
                f"HOLDFAST_SIGNING_KEY={reference}: everybody on this machine can use that "
                f"file: chmod 600 {reference}"
            )
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            f"HOLDFAST_SIGNING_KEY={reference} is no private key in PEM without a password: "
            "`holdfast ledger key FILE` makes one"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            f"HOLDFAST_SIGNING_KEY={reference} is a key of another kind than Ed25519: "
            "`holdfast ledger key FILE` makes one"
        )
    return key


def _text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_KEY).decode("ascii", "replace")
    except OSError as error:
        raise InputError(f"{what} cannot be read ({error.strerror})") from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode
        )
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from None
