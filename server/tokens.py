"""Bearer tokens: made once, kept as hashes, recognised without telling how near a guess was. Pure.

A token is 256 random bits, which nobody can try out: so a single SHA-256 keeps it safe at rest. A
slow hash with a salt is for passwords, which people choose and others guess.

Files of tokens have one on each line, its name and its hash. What follows a # at the beginning of
a word, and blank lines, are not read; a comma is as good as the end of a line.

    # the nightly tests
    ci       sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

BYTES_OF_A_TOKEN: Final = 32

_PREFIX: Final = "sha256:"
# Shorter than a token: one that stands in the wrong place is not taken for a name, and logged.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}")
_HASH: Final = re.compile(_PREFIX + r"[0-9A-Fa-f]{64}")
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token: its `name`, which goes to the log, and its `digest`, a SHA-256."""

    name: str
    digest: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            msg = (
                "the name of a token must have at most 32 letters, digits and any of . _ @ -,"
                " and begin with a letter or a digit"
            )
            raise ValueError(msg)
        if len(self.digest) != hashlib.sha256().digest_size:
            msg = f"token {self.name!r} must have a SHA-256, not {len(self.digest)} bytes"
            raise ValueError(msg)

    def __str__(self) -> str:
        """The line that goes into a file of tokens."""
        return f"{self.name} {_PREFIX}{self.digest.hex()}"


def make_token(name: str) -> tuple[str, Token]:
    """A new token, and what is to be kept of it. ValueError for an impossible name."""
    secret = secrets.token_urlsafe(BYTES_OF_A_TOKEN)
    return secret, Token(name, _digest(secret))


def read_tokens(text: str) -> tuple[Token, ...]:
    """The tokens in the text of a file. ValueError, which names the line and repeats none of it.

    What stands there by mistake may be a token itself.
    """
    lines: dict[str, int] = {}
    names: dict[bytes, str] = {}
    tokens: list[Token] = []
    for number, entry in _entries(text):
        token = _read(number, entry)
        if token.name in lines:
            msg = f"line {number}: line {lines[token.name]} has the name {token.name!r} already"
            raise ValueError(msg)
        if token.digest in names:
            msg = f"line {number}: {token.name!r} is the same token as {names[token.digest]!r}"
            raise ValueError(msg)
        lines[token.name], names[token.digest] = number, token.name
        tokens.append(token)
    if not tokens:
        msg = "there is no token in it"
        raise ValueError(msg)
    return tuple(tokens)


def name_of(secret: str, tokens: Iterable[Token]) -> str:
    """The name of the token that this is, "" if it is none of them.

    The time it takes is the same whichever it is, and tells nothing of how much was right.
    """
    digest = _digest(secret)
    name = ""
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            name = token.name
    return name


def _digest(secret: str) -> bytes:
    # Headers may hold bytes that are no UTF-8, which stand in their text as surrogates.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """What there is to read, with the numbers of the lines."""
    for number, line in enumerate(text.splitlines(), 1):
        for entry in _COMMENT.sub("", line).split(","):
            if entry.strip():
                yield number, entry


def _read(number: int, entry: str) -> Token:
    words = entry.split()
    if len(words) != 2 or not _HASH.fullmatch(words[1]):  # noqa: PLR2004 - name and hash
        what = "one word" if len(words) == 1 else "something else"
        msg = f"line {number}: expected NAME {_PREFIX}HEX with 64 hexadecimal digits, got {what}"
        raise ValueError(msg)
    try:
        return Token(words[0], bytes.fromhex(words[1].removeprefix(_PREFIX)))
    except ValueError as error:
        msg = f"line {number}: {error}"
        raise ValueError(msg) from None
