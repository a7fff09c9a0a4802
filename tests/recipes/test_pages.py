"""What holds for every page: it is listed, short, tested and typed; its commands name its files."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.recipes.pages import FOLDER, PAGES, blocks, files

RECIPES = [page for page in PAGES if page != "README"]
ELSEWHERE = {"ray", "pytorch", "jax"}
"""Written for frameworks that are not here, and have environments of their own."""


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", RECIPES)
def test_it_is_in_the_index_and_in_a_test(page: str) -> None:
    assert f"({page}.md)" in PAGES["README"]
    tests = [*Path(__file__).parent.glob("*.py"), *Path("tests/frameworks").glob("*_recipe.py")]
    used = [path for path in tests if f'"{page}"' in path.read_text() and path != Path(__file__)]
    assert used


@pytest.mark.parametrize("page", PAGES)
def test_it_is_short_beside_its_code(page: str) -> None:
    assert len(prose(page).split()) < 500


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(page)):
        assert (FOLDER / link).exists(), link


@pytest.mark.parametrize("page", RECIPES)
def test_all_of_its_code_is_files_that_its_commands_name(page: str) -> None:
    assert len(files(page)) == len(blocks(page, "python"))
    commands = " ".join(blocks(page, "sh"))
    for target, name in re.findall(r"(?:uvicorn|serve run) (\w+):(\w+)", commands):
        assert re.search(rf"^{name} = ", files(page)[f"{target}.py"], re.MULTILINE)
    for name in re.findall(r"(?:python|pytest) (\w+\.py)", commands):
        assert name in files(page)


@pytest.mark.skipif(find_spec("mypy") is None, reason="needs the extra `lint`")
def test_the_code_is_typed_and_in_form(tmp_path: Path) -> None:
    for page in RECIPES:
        (tmp_path / f"of_{page}").mkdir()
        for name, source in files(page).items():
            (tmp_path / f"of_{page}" / name).write_text(source)
    typed = [str(path) for path in tmp_path.rglob("*.py") if path.parent.name[3:] not in ELSEWHERE]
    settings = ["--strict", "--explicit-package-bases", "--ignore-missing-imports"]
    environment = os.environ | {"MYPYPATH": str(FOLDER.parents[2])}
    for command in (
        ["mypy", *settings, "--config-file=", *typed],
        ["ruff", "format", "--check", "--line-length=100", "."],
        [
            "ruff",
            "check",
            "--isolated",
            "--line-length=100",
            "--target-version=py311",
            "--select=E,F,W,B,UP,RUF,SIM",
            ".",
        ],
    ):
        ended = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
