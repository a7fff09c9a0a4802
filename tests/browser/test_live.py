"""The live page in Chromium: bursts are batched, it comes back, and nothing is amiss."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import serve
from tests.browser.pages import (
    LARGEST_SEEN,
    LAST_SEEN,
    draw,
    expect,
    goes,
    see,
    until,
)
from tests.browser.strokes import DIGITS

Visit = Callable[..., Any]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "device_scale_factor": 2}


def test_the_page_says_what_it_is_and_what_it_shows(visit: Visit, url: str) -> None:
    page = visit(url)
    goes(page)
    assert page.title() == "batcher-server: live"
    expect(page, ".version h2").to_have_text("digits version 1")
    expect(page, ".version .state").to_have_text("AVAILABLE")
    expect(page, ".rates-chart .uplot").to_be_visible()
    page.locator(".scan").click()
    expect(page, ".went").to_contain_text("The scan shows a")
    expect(page, ".stages [data-key=queue] td").to_contain_text(["ms", "ms", "ms"])
    expect(page, ".ends [data-key=answered] td").not_to_have_text("0")
    page.get_by_role("link", name="API").click()
    page.wait_for_url("**/docs")
    page.get_by_role("link", name="Live: what happens right now").click()
    page.wait_for_url(url + "/")
    goes(page)


def test_a_burst_is_batched(visit: Visit, url: str) -> None:
    page = visit(url)
    goes(page)
    page.locator(".burst").click()
    expect(page, ".came").to_contain_text("500 requests became")
    assert int(page.locator(".came").get_attribute("data-largest")) > 1
    assert page.locator(".closeup").is_visible()
    until(page, f"{LARGEST_SEEN} > 1")
    until(page, "parseFloat(document.querySelector('.tiles .size').textContent) > 1")
    see(page, "burst")


@pytest.mark.usefixtures("chromium")
def test_what_did_not_load_is_told_at_the_top(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no model")
    digits = Path(__file__).parents[2] / "server" / "demo" / "digits"
    models = ["--model", f"digits={digits}", "--model", f"broken={tmp_path / 'broken'}"]
    with serve(*models) as server:
        page = visit(server.url)
        goes(page)
        expect(page, "#failed").to_have_text("1 version failed")
        page.locator("#failed").click()
        expect(page, "#states .state").to_have_text("FAILED")
        expect(page, "#states .why").to_contain_text("saved_model.pb")
        see(page, "failed")
        page.close()


FORGET = "(({ history }) => history.forget(history.last.at))([...versions.values()][0])"


def test_what_keeps_coming_is_seen_as_it_comes(visit: Visit, url: str) -> None:
    page = visit(url)
    goes(page)
    page.locator(".keep").click()
    until(page, f"{LARGEST_SEEN} > 1")
    until(page, "parseFloat(document.querySelector('.tiles .answers').textContent) > 5")
    expect(page, ".uplot").to_have_count(4, timeout=15_000)
    draw(page, DIGITS[3])
    expect(page, ".digit").to_have_text("3")
    page.locator(".burst").click()
    expect(page, ".came").to_contain_text("500 requests became")
    until(page, "[...versions.values()][0].history.ticks.length > 40")
    see(page, "load")
    page.locator(".pause").click()
    paused = page.locator(".batches").screenshot()
    page.evaluate(FORGET)
    seen = page.evaluate(LAST_SEEN)
    until(page, f"{LAST_SEEN} > {seen + 2}")
    assert page.locator(".batches").screenshot() == paused
    page.locator(".pause").click()
    page.locator(".keep").click()


def test_it_comes_back_when_the_server_does(visit: Visit, complaints: list[str]) -> None:
    with serve() as first:
        page = visit(first.url)
        goes(page)
        page.locator(".burst").click()
        until(page, f"{LARGEST_SEEN} > 1")
        code, log = first.stop()
        assert code == 0, log
        expect(page, "#status").to_have_attribute("data-state", "waiting")
        port = first.url.rpartition(":")[2]
    with serve("--port", port):
        goes(page)
        page.locator(".scan").click()
        expect(page, ".went").to_contain_text("alone")
        expect(page, ".ends [data-key=answered] td").to_have_text("1")
        page.close()
    # Chromium itself notes each attempt.
    assert all("live/events" in each or "ERR_" in each or "503" in each for each in complaints)
    complaints.clear()


def test_a_page_that_is_not_seen_does_not_look(visit: Visit, url: str) -> None:
    one, other = visit(url), visit(url)
    goes(other)
    until(one, "document.getElementById('status').title.includes('2 viewers')")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    other.evaluate(hide % "true")
    until(one, "document.getElementById('status').title.includes('1 viewer')")
    other.evaluate(hide % "false")
    until(one, "document.getElementById('status').title.includes('2 viewers')")


NOTHING_SERVES = """() => {
  const [version] = versions.values();
  events.close();
  tell({ server: "", viewers: 1, versions: [], errors: {}, left_out_versions: 0 });
  return [version.digits.keeping, versions.size];
}"""


def test_nothing_is_sent_to_a_version_that_is_served_no_longer(visit: Visit, url: str) -> None:
    page = visit(url)
    goes(page)
    page.locator(".keep").click()
    until(page, "[...versions.values()][0].digits.keeping")
    assert page.evaluate(NOTHING_SERVES) == [False, 0]
    expect(page, ".version").to_have_count(0)


@pytest.mark.parametrize(
    ("told", "wait"), [("3", 3000), ("0", 1000), ("Wed, 21 Oct 2026 07:28:00 GMT", 1000)]
)
def test_it_never_comes_back_at_once_whatever_a_proxy_says(
    visit: Visit, url: str, told: str, wait: int
) -> None:
    refused = """(told) => events.refused(
      new Response("{}", { status: 503, headers: { "Retry-After": told } }),
    )"""
    assert visit(url).evaluate(refused, told) == wait


def test_a_token_is_asked_for_and_kept_for_the_tab(
    visit: Visit, complaints: list[str], tmp_path: Path
) -> None:
    secret, kept = new_token()
    tokens = tmp_path / "tokens"
    tokens.write_text(kept)
    with serve("--tokens", str(tokens)) as server:
        page = visit(server.url)
        for word, says in (("nonsense", "not known"), (secret, "")):
            expect(page, "#unlock").to_be_visible()
            page.locator("#token").fill(word)
            page.keyboard.press("Enter")
            expect(page, "#refused").to_contain_text(says)
        goes(page)
        page.reload()
        goes(page)
        expect(page, "#unlock").to_be_hidden()
        page.locator(".burst").click()
        expect(page, ".came").to_contain_text("500 requests became")
        draw(page, DIGITS[7])
        expect(page, ".digit").to_have_text("7")
        page.close()
    assert all("401" in each for each in complaints), complaints
    complaints.clear()


def new_token() -> tuple[str, str]:
    """A token and the line to keep of it."""
    ended = subprocess.run(
        [os.environ["BATCHER_PYTHON"], "-m", "server", "token", "browser"],
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stderr.split()[-1], ended.stdout


# ---------------------------------------------------------------------------------------- its looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(visit: Visit, url: str, scheme: str) -> None:
    page = visit(url, color_scheme=scheme, **PHONE)
    goes(page)
    page.locator(".burst").click()
    until(page, f"{LARGEST_SEEN} > 1")
    page.locator(".box").scroll_into_view_if_needed()
    draw(page, DIGITS[1])
    expect(page, ".digit").to_have_text("1")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    see(page, f"phone-{scheme}")


def test_it_follows_the_colours_of_its_reader_who_may_have_others(visit: Visit, url: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = visit(url, color_scheme="dark")
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    until(page, f"{ground} !== '{dark}'")
    light = page.evaluate(ground)
    page.locator("#theme").select_option("dark")
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    page.locator("#theme").select_option("auto")
    assert page.evaluate(ground) == light


FOCUSED = (
    "(({ className, id, textContent }) => className || id || textContent)(document.activeElement)"
)


def test_everything_is_reached_and_told_without_a_mouse(visit: Visit, url: str) -> None:
    page = visit(url, reduced_motion="reduce")
    goes(page)
    wanted = ["API", "theme", "pause", "box", "scan"]
    reached: list[str] = []
    while reached[-1:] != ["scan"]:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        assert len(reached) < 20
    assert [each for each in reached if each in wanted] == wanted
    page.keyboard.press("Enter")
    expect(page, ".went").to_contain_text("The scan shows a")
    unnamed = """[...document.querySelectorAll("button, select, input, canvas, a, table")].filter(
      (each) => !(each.textContent.trim() || each.closest("[aria-label]") || each.labels?.length),
    ).length"""
    assert page.evaluate(unnamed) == 0


# -------------------------------------------------------------------------------------- its memory


MISSED = """() => {
  const told = (accepted, batches) => ({
    now: {}, totals: { accepted }, sums: {}, stages: {}, left_out: null, batches,
  });
  const history = new History();
  const add = (number, accepted, batches = [[accepted, 0.5, 1, 1, 1, "idle", 0]]) =>
    history.add({ number, at: accepted + 0.6 }, told(accepted, batches));
  [[1, 10], [2, 11], [5, 14]].forEach(([number, accepted]) => add(number, accepted));
  const missed = history.unseen.map((span) => [...span]);
  add(6, 100);
  const after_a_minute = history.bars.length;
  add(7, 200, []);
  const after_an_idle_minute = history.bars.length;
  add(1, 3);
  return { missed, after_a_minute, after_an_idle_minute, after_a_restart: history.bars.length };
}"""


def test_what_was_missed_is_known_and_what_is_old_is_forgotten(visit: Visit, url: str) -> None:
    assert visit(url).evaluate(MISSED) == {
        "missed": [[11.6, 14.6]],
        "after_a_minute": 1,
        "after_an_idle_minute": 0,
        "after_a_restart": 1,
    }
