"""Files of tokens: what they may hold, where they are wrong, and whom they let in."""

import hashlib
import hmac
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import tokens
from server.tokens import Token, make_token, name_of, read_tokens

HASH = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64


def test_a_new_token_is_recognised_by_the_line_that_is_kept_of_it() -> None:
    secret, kept = make_token("ci")
    assert len(secret) >= 43  # 32 bytes in base64.
    assert secret not in str(kept)
    assert read_tokens(str(kept)) == (kept,)
    assert name_of(secret, read_tokens(f"other {OTHER}\n{kept}\n")) == "ci"


def test_no_two_new_tokens_are_the_same() -> None:
    assert len({make_token("ci")[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "wrong",
    [lambda s: s[:0], lambda s: s[:-1], lambda s: f"{s}x", str.swapcase, lambda s: f"é{s}"],
    ids=["nothing", "cut", "longer", "case", "not ASCII"],
)
def test_whatever_is_not_the_token_is_nobodys(wrong: Callable[[str], str]) -> None:
    secret, kept = make_token("ci")
    assert name_of(wrong(secret), (kept,)) == ""


@given(st.text())
def test_any_text_may_be_asked_about(text: str) -> None:
    assert name_of(text, (make_token("ci")[1],)) == ""


def test_a_header_that_is_no_utf8_is_nobodys() -> None:
    assert name_of(b"\xff\xfe".decode("utf-8", "surrogateescape"), (make_token("ci")[1],)) == ""


def test_every_hash_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_token(f"t{n}") for n in range(5)]
    kept = [token for _, token in made]
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noting(stored: bytes, given: bytes) -> bool:
        compared.append(stored)
        return compare(stored, given)

    monkeypatch.setattr(tokens.hmac, "compare_digest", noting)  # type: ignore[attr-defined]
    for secret, token in made:
        compared.clear()
        assert name_of(secret, kept) == token.name
        assert compared == [each.digest for each in kept]


def test_the_hash_is_a_plain_sha256_that_any_tool_makes() -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    assert name_of("secret", read_tokens(f"ci sha256:{digest}")) == "ci"
    assert name_of("secret", read_tokens(f"ci sha256:{digest.upper()}")) == "ci"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"ci {HASH}", ["ci"]),
        (f"  ci\t {HASH} \r\n", ["ci"]),
        (f"# all of them, and more\n\nci {HASH} # nightly\n   \nops {OTHER}", ["ci", "ops"]),
        (f"ci {HASH},ops {OTHER}", ["ci", "ops"]),
        (f"ci {HASH}, ops {OTHER},\n", ["ci", "ops"]),
        (f"a.b_c@d-1 {HASH}", ["a.b_c@d-1"]),
        (f"{'n' * 32} {HASH}", ["n" * 32]),
    ],
)
def test_what_a_file_may_hold(text: str, names: list[str]) -> None:
    assert [token.name for token in read_tokens(text)] == names


SECRET = "k3Jx-this-is-a-token-pasted-by-mistake-9QzA"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no token in it"),
        ("# none yet\n\n", "there is no token in it"),
        (SECRET, "line 1: expected NAME sha256:HEX with 64 hexadecimal digits, got one word"),
        (f"ci {HASH}\nops {SECRET}", "line 2: expected NAME sha256:HEX"),
        (f"\n# x\nci {HASH} {SECRET}", "line 3: expected NAME sha256:HEX"),
        (f"ci {HASH[:-1]}", "line 1: expected NAME sha256:HEX"),
        (f"ci {HASH}0", "line 1: expected NAME sha256:HEX"),
        (f"ci {HASH[:-1]}g", "line 1: expected NAME sha256:HEX"),
        (f"ci {HASH.removeprefix('sha256:')}", "line 1: expected NAME sha256:HEX"),
        (f"ci {HASH.replace('sha256', 'md5')}", "line 1: expected NAME sha256:HEX"),
        (f"{SECRET} {HASH}", "line 1: the name of a token must have at most 32"),
        (f"-ci {HASH}", "line 1: the name of a token must have at most 32"),
        (f"c/i {HASH}", "line 1: the name of a token must have at most 32"),
        (f"ci {HASH}\n\nci {OTHER}", "line 3: line 1 has the name 'ci' already"),
        (f"ci {HASH}\nops {HASH}", "line 2: 'ops' is the same token as 'ci'"),
    ],
)
def test_what_is_wrong_is_told_by_its_line_and_never_repeated(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as error:
        read_tokens(text)
    assert SECRET not in str(error.value)


def test_a_token_in_code_is_checked_too() -> None:
    with pytest.raises(ValueError, match="must have a SHA-256, not 3 bytes"):
        Token("ci", b"abc")
    with pytest.raises(ValueError, match="the name of a token"):
        Token("", bytes(32))
