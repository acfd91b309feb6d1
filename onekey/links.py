"""The one key of a share and what is derived from it alone: format.md, section 1.

A seed is 24 random bytes, a token its only spelling. Blob id and knock say nothing of the seed. An owner
token has the same size and spelling but is drawn on its own: a link does not tell how to delete its share.
"""

import base64
import hashlib
import os
import re
from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from onekey.errors import BadToken

SEED_SIZE = 24
TOKEN_SIZE = 32

Entropy = Callable[[int], bytes]

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_DRAWS = 64


def kdf(ikm: bytes, salt: bytes, label: str, size: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) under one of the labels of format.md: `size` bytes."""
    return HKDF(SHA256(), size, salt, b"onekey v1 " + label.encode()).derive(ikm)


def write_token(secret: bytes) -> str:
    """The 32 characters of base64url that spell the 24 bytes of a seed, of an owner token or of a lease."""
    assert len(secret) == SEED_SIZE
    return base64.urlsafe_b64encode(secret).decode()


def read_token(token: str) -> bytes:
    """The 24 bytes that a token spells. Anything but its one spelling raises BadToken."""
    # The decoder of the standard library skips what it does not know, so the characters are checked first.
    if not _TOKEN.fullmatch(token):
        raise BadToken("This is not a token.")
    return base64.urlsafe_b64decode(token)


def new_seed(entropy: Entropy = os.urandom) -> bytes:
    """A fresh seed for one container, never to be used for another."""
    return _draw(entropy)


def new_owner(entropy: Entropy = os.urandom) -> bytes:
    """The 24 bytes of a fresh owner token: the right to change or delete one share."""
    return _draw(entropy)


def new_lease(entropy: Entropy = os.urandom) -> bytes:
    """The 24 bytes of a fresh lease: the right to read one share for a while."""
    return _draw(entropy)


def _draw(entropy: Entropy) -> bytes:
    # Programs that find links in text cut off - and _ at their ends. One draw in sixteen is refused; entropy
    # that never gives a good one is the system's fault and must not hang us.
    for _ in range(_DRAWS):
        secret = entropy(SEED_SIZE)
        token = write_token(secret)
        if token.strip("-_") == token:
            break
    return secret


def blob_id(seed: bytes) -> str:
    """The name of the stored bytes: 32 lower-case hexadecimal digits."""
    return kdf(seed, b"", "id", 16).hex()


def knock(seed: bytes) -> bytes:
    """The 16 bytes that prove to a server that a client holds the link."""
    return kdf(seed, b"", "knock", 16)


def fingerprint(proof: bytes) -> bytes:
    """SHA-256 of a knock, an access, an owner token or a lease: the 32 bytes that a server keeps of it."""
    return hashlib.sha256(proof).digest()


def direct(base_url: str, token: str, ending: str = "") -> str:
    """The link that any program can open, `ending` (".png", say) included: the server sees the token."""
    return f"{base_url.rstrip('/')}/{token}{ending}"


def sealed(base_url: str, token: str) -> str:
    """The link that a browser opens by itself: what follows the # never reaches a server."""
    return f"{base_url.rstrip('/')}/#{token}"
