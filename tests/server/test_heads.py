"""Heads known again by their bytes: what is found is what a parser says, and memory has an end."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.adapters.heads import LONGEST, Head, Heads, origin_form

fuzz = settings(derandomize=True, deadline=None, max_examples=100)


@pytest.fixture(autouse=True, scope="module")
def loop() -> Iterator[None]:
    """A loop, as wherever heads are read: aiohttp's parser asks for one."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
        asyncio.set_event_loop(None)


Entered = tuple[str, str, Mapping[str, str]]


def entered(method: str, target: str, headers: Mapping[str, str]) -> Entered:
    return method, target, headers


def raw_head(method: str, target: str, *lines: str, version: str = "HTTP/1.1") -> bytes:
    head = [f"{method} {target} {version}", "Host: x", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def numbered(number: int) -> bytes:
    return raw_head("POST", "/", f"X-Request-Id: {number}")


class Parsed:
    """Heads, and what was parsed of them so far, by target."""

    def __init__(self, most: int = 4) -> None:
        self.seen: list[str] = []
        self.heads = Heads[None](self._enter, most=most)

    def _enter(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        self.seen.append(headers.get("X-Request-Id", target))

    @property
    def kept(self) -> int:
        return len(self.heads._newer) + len(self.heads._older)


def test_the_same_bytes_are_the_same_head_and_parsed_once() -> None:
    parsed = Parsed()
    found = [parsed.heads.find(raw_head("GET", "/a", "A: b")) for _ in range(3)]
    assert found[0] is not None
    assert found[0] is found[1] is found[2]
    assert parsed.heads.find(raw_head("GET", "/a", "A: c")) is not found[0]
    assert parsed.seen == ["/a", "/a"]


def test_a_head_says_all_that_its_reader_needs() -> None:
    headers = ("Content-Length: 12", "Content-Encoding: gzip", "X-Request-Id: 7")
    head = Heads(entered).find(raw_head("POST", "http://y/v1/models/m:predict?a", *headers))
    assert head is not None
    assert (head.method, head.target) == ("POST", "/v1/models/m:predict?a")
    assert (head.length, head.encoding) == (12, "gzip")
    assert (head.keep_alive, head.old) == (True, False)
    assert head.headers["x-request-id"] == "7"
    assert head.entrance == ("POST", "/v1/models/m:predict?a", head.headers)


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["Connection: close"], False),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["Connection: keep-alive"], True),
    ],
)
def test_a_head_tells_whether_its_client_stays(
    version: str, lines: list[str], *, keep_alive: bool
) -> None:
    head = Heads(entered).find(raw_head("GET", "/", *lines, version=version))
    assert head is not None
    assert (head.keep_alive, head.old) == (keep_alive, version == "HTTP/1.0")
    assert (head.length, head.encoding) == (0, "")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(raw_head("POST", "/", "Transfer-Encoding: chunked"), id="chunked"),
        pytest.param(raw_head("POST", "/", "Transfer-Encoding: gzip, chunked"), id="two-codings"),
        pytest.param(raw_head("POST", "/", "Transfer-Encoding: identity"), id="identity"),
        pytest.param(
            raw_head("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked"),
            id="length-and-chunked",
        ),
        pytest.param(
            raw_head("POST", "/", "Content-Length: 5", "Expect: 100-continue"), id="expect"
        ),
        pytest.param(raw_head("GET", "/", "Connection: Upgrade", "Upgrade: h2c"), id="upgrade"),
        pytest.param(raw_head("GET", "/", "Upgrade: websocket"), id="upgrade-alone"),
        pytest.param(raw_head("CONNECT", "x:80"), id="connect"),
        pytest.param(raw_head("POST", "/", "Content-Length: 5", "Content-Length: 6"), id="two"),
        pytest.param(raw_head("POST", "/", "Content-Length: 5", "Content-Length: 5"), id="twice"),
        *[
            pytest.param(raw_head("POST", "/", f"Content-Length: {length}"), id=f"length-{name}")
            for name, length in [
                ("signed", "+5"),
                ("negative", "-5"),
                ("empty", ""),
                ("list", "5, 5"),
                ("hexadecimal", "0x5"),
                ("fraction", "5.0"),
                ("grouped", "1_000"),
                ("superscript", "\xb2"),
                ("of-19-digits", "1" * 19),
            ]
        ],
        pytest.param(raw_head("POST", "/", "Content-Length : 5"), id="space-before-colon"),
        pytest.param(b"hello\r\n\r\n", id="no-http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", id="tls"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", id="http-2"),
        pytest.param(raw_head("GET", "/", version="HTTP/9.9"), id="version"),
        pytest.param(raw_head("GET", "/a b"), id="space-in-target"),
        pytest.param(raw_head("G@T", "/"), id="method"),
        pytest.param(raw_head("GET", "/", "A: b", " c"), id="folded-header"),
        pytest.param(raw_head("GET", "/", "A: b\0c"), id="nul-in-header"),
        pytest.param(raw_head("GET", "/", "A: b\rc"), id="return-in-header"),
        pytest.param(raw_head("GET", "/", "no colon"), id="header-line"),
        pytest.param(raw_head("GET", "/", f"A: {'x' * 9000}"), id="header-too-large"),
        pytest.param(raw_head("GET", f"/{'x' * 9000}"), id="target-too-long"),
        pytest.param(raw_head("GET", "/", "Host: y"), id="two-hosts"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no-host"),
        # What ends lines with a line feed alone ends its head before the empty line does.
        pytest.param(b"GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", id="two-in"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\n\n\r\n\r\n", id="body-in-it"
        ),
        pytest.param(b"\r\n\r\n", id="empty-lines"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", id="no-end"),
    ],
)
def test_what_is_not_plain_is_left_to_others_and_not_kept(raw: bytes) -> None:
    parsed = Parsed()
    assert parsed.heads.find(raw) is None
    assert parsed.heads.find(raw) is None
    assert parsed.seen == []
    assert parsed.kept == 0


tokens = st.text("abcXYZ-09_", min_size=1, max_size=8).map(lambda text: f"X{text}")
values = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=12
)
headers = st.lists(st.tuples(tokens, values), max_size=4)
targets = st.text("abc/:?=&%.~", max_size=20).map(lambda text: f"/{text}") | st.sampled_from(
    ["http://x/a", "HTTP://u@[::1]:80?a"]
)


@fuzz
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "QUERY"]),
    target=targets,
    more=headers,
    length=st.none() | st.integers(0, 10**18 - 1),
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
    before=st.lists(st.integers(0, 5), max_size=8),
)
@example(
    method="POST",
    target="/",
    more=[("X", "\xe9")],
    length=10**18 - 1,
    version="HTTP/1.1",
    before=[],
)
def test_what_is_known_again_is_what_a_fresh_parser_says(
    *,
    method: str,
    target: str,
    more: list[tuple[str, str]],
    length: int | None,
    version: str,
    before: list[int],
) -> None:
    lines = [f"{name}: {value}" for name, value in more]
    lines += [] if length is None else [f"Content-Length: {length}"]
    raw = raw_head(method, target, *lines, version=version)
    heads = Heads(entered, most=2)
    first = heads.find(raw)
    for number in before:
        heads.find(numbered(number))
    again, fresh = heads.find(raw), Heads(entered).find(raw)
    assert first == again == fresh
    assert fresh is not None
    assert (fresh.method, fresh.target) == (method, origin_form(target))
    assert fresh.length == (length or 0)
    told = [(name, value) for name, value in fresh.headers.items() if name.startswith("X")]
    assert told == [
        (name, value.encode("latin-1").decode("utf-8", "surrogateescape")) for name, value in more
    ]


@fuzz
@given(
    at=st.integers(0, 80),
    deleted=st.integers(0, 3),
    inserted=st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"5", b"\xff"]),
)
def test_spoilt_heads_are_read_alike_or_not_at_all(at: int, deleted: int, inserted: bytes) -> None:
    whole = raw_head("POST", "/v1/models/m:predict", "Content-Length: 5", "A: b")
    raw = whole[:at] + inserted + whole[at + deleted :]
    raw = raw[: raw.find(b"\r\n\r\n") + 4]
    heads = Heads(entered)
    head = heads.find(raw)
    assert heads.find(raw) is head
    if head is not None:
        # The parser has seen one head, and nothing that comes after one.
        assert raw.strip(b"\r\n").count(b"\n") == raw.strip(b"\r\n").count(b"\r\n")
        assert b"\n\n" not in raw


def test_a_long_head_is_read_each_time() -> None:
    parsed = Parsed()
    short = raw_head("GET", "/", "X-Request-Id: short", "A: ")
    raw = raw_head("GET", "/", "X-Request-Id: short", f"A: {'x' * (LONGEST - len(short))}")
    assert len(raw) == LONGEST
    assert parsed.heads.find(raw) is parsed.heads.find(raw)
    longer = raw.replace(b"short", b"longer")
    found = [parsed.heads.find(longer) for _ in range(2)]
    assert found[0] == found[1] != None  # noqa: E711 - equal to each other, and both are there
    assert found[0] is not found[1]
    assert parsed.seen == ["short", "longer", "longer"]
    assert parsed.kept == 1


def test_heads_that_differ_each_time_push_out_only_one_another() -> None:
    parsed = Parsed(most=4)
    known: Head[Any] | None = parsed.heads.find(raw_head("GET", "/known"))
    for number in range(100):
        parsed.heads.find(numbered(number))
        # As often as every third of what a generation holds.
        if number % 3 == 0:
            assert parsed.heads.find(raw_head("GET", "/known")) is known
        assert parsed.kept <= 2 * 4
    assert parsed.seen.count("/known") == 1
    assert len(parsed.seen) == 101


def test_what_is_not_used_again_is_forgotten() -> None:
    parsed = Parsed(most=4)
    parsed.heads.find(raw_head("GET", "/once"))
    for number in range(8):
        parsed.heads.find(numbered(number))
    assert parsed.seen.count("/once") == 1
    parsed.heads.find(raw_head("GET", "/once"))
    assert parsed.seen.count("/once") == 2


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        ("/", "/"),
        ("/a?b=http://x/", "/a?b=http://x/"),
        ("//x/a", "//x/a"),
        ("http://x", "/"),
        ("http://x/", "/"),
        ("http://x/a/b?c", "/a/b?c"),
        ("http://x?c", "/?c"),
        ("HTTPS://user@[::1]:80/a", "/a"),
        ("a+b-c.1://x/a", "/a"),
        ("http:///a", "/a"),
        ("*", "*"),
        ("a", "a"),
        ("", ""),
        ("x:80", "x:80"),
        ("1http://x/a", "1http://x/a"),
        ("http:/a", "http:/a"),
    ],
)
def test_a_target_loses_scheme_and_authority(target: str, origin: str) -> None:
    assert origin_form(target) == origin
