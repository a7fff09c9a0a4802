"""How Sphinx makes pages of the guides and of the docstrings: see `run`."""

import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).parents[2]
GUIDES: Final = ROOT / "server" / "docs"
project = "batcher"
root_doc = "README"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Links of guides name headings as a code host does.
myst_heading_anchors = 4
# In docstrings, as in Markdown, a single backtick is code.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "batcher"
html_static_path = ["static"]
html_css_files = ["guides.css"]
# The page that a browser opens first.
html_extra_path = ["entrance"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LISTED: Final = re.compile(r"^\| \[[^\]]+\]\(([\w./-]+)\.md\)", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]+)\]\((\.\.?/[^)#]+)(?:#[^)]*)?\)")

_SHORTER: Final = {
    "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~typing.Any]]": "Array",
    "Array | tuple[Array, ...] | dict[str, Array]": "Arrays",
    "<factory>": "...",
}
"""What signatures would say -> what the guides call it."""


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = _LINK.sub(lambda link: _inside(app.env.doc2path(name), link), source[0])
    if name.rpartition("/")[2] == root_doc:
        source[0] += _navigation(source[0])


def _inside(page: Path, link: re.Match[str]) -> str:
    """The link; its words alone if it leads to sources, which the pages do not have."""
    target = (Path(page).parent / link[2]).resolve()
    return link[0] if target.is_relative_to(GUIDES) else link[1]


def _navigation(index: str) -> str:
    """What the tables of an index list, section by section, is the navigation."""
    beginning, *parts = _SECTION.split(index)
    trees = []
    for heading, text in [("", beginning), *zip(parts[::2], parts[1::2], strict=True)]:
        if pages := _LISTED.findall(text):
            caption = [f":caption: {heading}"] if heading else []
            trees += ["", "```{toctree}", ":hidden:", *caption, "", *pages, "```"]
    return "\n".join(trees)


def _mark_code(  # noqa: PLR0917 - what Sphinx calls it with
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """In docstrings an indented block behind a blank line is code; right behind a word, of it."""
    for number, line in reversed(list(enumerate(lines))):
        above = next((other for other in reversed(lines[:number]) if other.strip()), "")
        begins = line.startswith("    ") and not (number and lines[number - 1].strip())
        if begins and not above.startswith("    "):
            lines[number:number] = ["::", ""]


def _shorten(*given: object) -> tuple[str | None, ...]:
    """What a signature takes and returns, if it has any, as a reader wants it."""
    return tuple(_shortened(text) if isinstance(text, str) else None for text in given[-2:])


def _shortened(text: str) -> str:
    for long, short in _SHORTER.items():
        text = text.replace(long, short)
    return text


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _mark_code)
