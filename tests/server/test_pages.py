"""The pages beside the protocols: live, the viewer of the API, their parts, probes, refusals."""

import asyncio
import fnmatch
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web

from server import create_app
from server.config import Config, ModelConfig
from server.tokens import make_token
from tests.server.by_hand import served_by_hand
from tests.server.conftest import Served

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "server" / "static"

Tag = tuple[str, dict[str, str | None]]


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[Tag] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def parts(self) -> list[str]:
        """Links to what a browser loads with the page."""
        links = [of.get("src") or of.get("href") for tag, of in self.found if tag != "a"]
        return [link for link in links if link and not link.startswith("data:")]


PAGES = {"/": 11, "/docs": 4}
"""Where they are, and how many parts they have."""


# -------------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_only_from_this_server_and_runs_nothing_inline(
    served: Served, page: str
) -> None:
    shown = served.ask("GET", page)
    assert (shown.status, shown.content_type) == (200, "text/html; charset=utf-8")
    headers = shown.headers or {}
    policy = dict(
        directive.split(maxsplit=1) for directive in headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache"
    tags = Tags(shown.body).found
    assert "style" not in [tag for tag, _ in tags]
    for tag, attributes in tags:
        assert tag != "script" or attributes["src"]
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("page", PAGES)
def test_all_parts_of_a_page_are_here_and_may_be_kept_for_ever(served: Served, page: str) -> None:
    links = Tags(served.ask("GET", page).body).parts()
    assert len(links) == PAGES[page]
    for link in links:
        assert not re.match(r"/|[a-z]+:", link), "relative, so that it is right behind a prefix"
        path, digest = link.split("?")
        part = served.ask("GET", urljoin(page, link))
        assert part.status == 200
        assert part.content_type.partition(";")[0] in ("text/css", "text/javascript")
        headers = part.headers or {}
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert hashlib.sha256(part.body).hexdigest().startswith(digest), path


def test_no_script_or_style_of_ours_names_another_host() -> None:
    ours = [path for path in STATIC.rglob("*") if path.parent.name in ("static", "live")]
    ours = [path for path in ours if path.suffix in (".html", ".css", ".js")]
    assert len(ours) > 10
    for path in ours:
        assert "//" not in re.sub(r"(^|\s)// .*$", "", path.read_text(), flags=re.MULTILINE), path


def test_what_is_vendored_is_what_the_note_says() -> None:
    note = (STATIC / "VENDORED.md").read_text()
    sums = dict(re.findall(r"^ +([0-9a-f]{64})  (\S+)$", note, flags=re.MULTILINE))
    assert len(sums) == 4
    for digest, name in sums.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    assert {"LICENSE", "NOTICE"} < {file.name for file in (STATIC / "swagger-ui").iterdir()}
    assert (STATIC / "uplot" / "LICENSE").exists()


def test_every_static_file_is_installed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = setuptools["package-data"]["server"]
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        told = str(path.relative_to(ROOT / "server"))
        assert any(
            told.count("/") == pattern.count("/") and fnmatch.fnmatch(told, pattern)
            for pattern in patterns
        ), told


@pytest.mark.parametrize(
    ("path", "target"),
    [("/docs/", "/docs"), ("/docs/?a", "/docs"), ("/live", "/"), ("/live/", "/")],
)
def test_other_ways_lead_to_the_pages(served: Served, path: str, target: str) -> None:
    answer = served.ask("GET", path)
    assert (answer.status, answer.body) == (302, b"")
    assert urljoin(path, (answer.headers or {})["Location"]) == target


def test_pages_lead_to_each_other(served: Served) -> None:
    ways = {}
    for page in ("/", "/docs"):
        tags = Tags(served.ask("GET", page).body).found
        ways[page] = {urljoin(page, of["href"] or "") for tag, of in tags if tag == "a"}
    assert ways["/"] == {"/#others", "/docs", "/metrics"}
    assert "/" in ways["/docs"]


def test_pages_work_behind_a_prefix(models: dict[str, Path]) -> None:
    async def main() -> None:
        outer = web.Application()
        inner = create_app(Config((ModelConfig("half", models["half_plus_two"]),)))
        outer.add_subapp("/ml", inner)
        runner = web.AppRunner(outer)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            live = await session.get("/ml/")
            for link in Tags(await live.read()).parts():
                assert (await session.get(urljoin("/ml/", link))).status == 200
            page = await session.get("/ml/docs")
            for link in [*Tags(await page.read()).parts(), "openapi.json"]:
                answer = await session.get(urljoin("/ml/docs", link))
                assert answer.status == 200
                assert "//" not in answer.url.path
            described = await answer.json()
            (server,) = described["servers"]
            base = urljoin(str(answer.url), server["url"]).removesuffix("/")
            example = {"instances": [1.0, 2.0, 5.0]}
            got = await session.post(f"{base}/v1/models/half:predict", json=example)
            assert await got.json() == {"predictions": [2.5, 3.0, 4.5]}
        await runner.cleanup()

    asyncio.run(main())


# ----------------------------------------------------------------------------------- who sees what


@pytest.fixture(scope="module")
def secret_and_guarded(models: dict[str, Path]) -> Iterator[tuple[str, Served]]:
    secret, token = make_token("reader")
    guarded = Served(Config((ModelConfig("half", models["half_plus_two"]),), tokens=(token,)))
    yield secret, guarded
    guarded.close()


@pytest.mark.parametrize(
    "path", ["/", "/live/live.js", "/docs", "/docs/", "/docs/docs.js", "/livez"]
)
def test_what_is_no_secret_needs_no_token(
    secret_and_guarded: tuple[str, Served], path: str
) -> None:
    _, guarded = secret_and_guarded
    assert guarded.ask("GET", path).status in (200, 302)


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics", "/nowhere", "/live/nowhere"])
def test_everything_else_needs_a_token(secret_and_guarded: tuple[str, Served], path: str) -> None:
    secret, guarded = secret_and_guarded
    refused = guarded.ask("GET", path)
    assert refused.status == 401
    assert (refused.headers or {})["WWW-Authenticate"] == "Bearer"
    answer = guarded.ask("GET", path, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status in (200, 404)


# ---------------------------------------------------------------------------------- the refusals


@pytest.mark.parametrize("path", ["/nowhere", "/docs/nowhere", "/docs/../docs.js", "/static/", ""])
def test_what_is_not_here_is_told_in_json(served: Served, path: str) -> None:
    answer = served.ask("GET", path)
    assert (answer.status, answer.content_type) == (404, "application/json")
    assert json.loads(answer.body) == {"error": f"nothing is served at {path}"}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/docs.js", "/openapi.json", "/livez"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_pages_are_only_read(served: Served, method: str, path: str) -> None:
    answer = served.ask(method, path)
    assert (answer.status, (answer.headers or {})["Allow"]) == (405, "GET, HEAD")
    assert list(json.loads(answer.body)) == ["error"]


def test_head_tells_of_a_page_without_its_body() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            for path in ("/docs", "/openapi.json", "/docs/swagger-ui.css"):
                head, got = await session.head(path), await session.get(path)
                assert await head.read() == b""
                assert head.status == got.status == 200
                assert head.headers["Content-Length"] == str(len(await got.read()))
                assert head.headers["Content-Type"] == got.headers["Content-Type"]

    asyncio.run(main())
