"""The page's files as they are shipped: nothing inline, nothing from elsewhere, every text as text."""

import re
from pathlib import Path

import pytest

import shim.page
from shim.page.files import HEADERS, POLICY, TYPES, file_at

FOLDER = Path(shim.page.__file__).parent
SCRIPTS = sorted(FOLDER.glob("*.js"))
NAMES = sorted(file.name for file in FOLDER.iterdir() if file.suffix in TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_served_whole_as_what_it_is(name: str) -> None:
    found = file_at(f"/page/{name}")
    assert found is not None
    assert found.body == (FOLDER / name).read_bytes()
    assert found.content_type == TYPES[Path(name).suffix]


def test_the_page_itself_is_at_the_root() -> None:
    assert file_at("/") == file_at("/page/index.html")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/files.py", "/page/../files.py", "/page/x.js", "/pagemain.js", "//page/main.js", ""],
)
def test_nothing_else_is(path: str) -> None:
    assert file_at(path) is None


def test_the_policy_allows_no_more_than_the_pages_own_files() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert set(rules.values()) == {"'self'", "'none'"}
    assert {name for name, value in rules.items() if value == "'none'"} == {
        *("base-uri", "form-action", "frame-ancestors")
    }
    assert dict(HEADERS)["x-content-type-options"] == "nosniff"


def test_what_the_page_names_is_there_and_its_own() -> None:
    text = (FOLDER / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {name for name in named if name.startswith("page/")} <= {f"page/{name}" for name in NAMES}
    assert all(name.startswith(("page/", "#")) for name in named)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for script in SCRIPTS:
        for imported in re.findall(r'from "([^"]*)"', script.read_text()):
            assert imported.removeprefix("./") in NAMES, (script.name, imported)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_for_and_makes_nothing_of_text_but_text(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("// ")
    makes = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
    assert not re.findall(makes, text)
    assert not re.findall(r"""https?://(?!www\.w3\.org/2000/svg)[^\s"'`]+""", text)
