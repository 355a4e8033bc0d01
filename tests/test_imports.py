"""The layers' arrows, and the sizes of files: as shim/__init__.py and the style say."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIMIT, TEST_LIMIT = 300, 400  # lines of a file
FILES = sorted((ROOT / "shim").rglob("*.py"))
STDLIB = sys.stdlib_module_names

# What a file may import of shim, by its folder; its own folder it may always.
ARROWS = {
    "": {"shim.proxy", "shim.processes", "shim.core"},  # __main__ and processes: between the layers
    "proxy": set(),
    "core": {"shim.proxy.flags"},
    "relay": {"shim.core", "shim.proxy"},
    "registrar": {"shim.core", "shim.proxy", "shim.processes"},
    "commands": {"shim.core", "shim.proxy", "shim.processes", "shim.registrar"},
    "artifact": {"shim.__main__"},
}
# What the start-up path may import: built in to a bare interpreter, on errors (syslog), for UDP (fcntl).
LIGHT = {"_signal", "_socket", "posix", "sys", "time", "syslog", "fcntl"}
THIRD_PARTY = {
    "relay": {"trio"},
    "registrar": {"trio", "h11", "httpx", "yaml"},
    "commands": {"trio", "httpx", "yaml"},
    "artifact": {"_bootstrap"},
}
# What does I/O or reads a clock has no place in the core.
IMPURE = {"asyncio", "io", "os", "pathlib", "random", "select", "signal", "socket", "subprocess", "tempfile"}
IMPURE |= {"threading", "time", "datetime", "logging", "secrets", "uuid", "http", "urllib"}


def folder(file: Path) -> str:
    parts = file.relative_to(ROOT / "shim").parts
    return parts[0] if len(parts) > 1 else ""


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            if module in ("shim", "shim.core", "shim.registrar", "shim.commands", "shim.proxy", "shim.relay"):
                yield from (f"{module}.{name.name}" for name in node.names)
            else:
                yield module


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_data_flows_one_way(file: Path) -> None:
    here = folder(file)
    allowed = {*ARROWS[here], "shim.__version__", f"shim.{here}" if here else "shim"}
    for module in imports(file):
        if module.split(".")[0] == "shim":
            assert any(f"{module}.".startswith(f"{prefix}.") for prefix in allowed), module
        else:
            assert module.split(".")[0] in STDLIB | THIRD_PARTY.get(here, set()), module


@pytest.mark.parametrize("file", [f for f in FILES if folder(f) == "core"], ids=name_of)
def test_the_core_does_no_io_and_knows_no_clock(file: Path) -> None:
    assert not {module.split(".")[0] for module in imports(file)} & IMPURE


@pytest.mark.parametrize("file", [f for f in FILES if folder(f) == "proxy"], ids=name_of)
def test_the_start_up_path_imports_nothing_that_costs_time(file: Path) -> None:
    found = {module for module in imports(file) if not module.startswith("shim.proxy.")}
    assert found <= LIGHT


def test_the_package_itself_imports_nothing() -> None:
    assert not list(imports(ROOT / "shim" / "__init__.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text and text.splitlines()[0].strip()


@pytest.mark.parametrize("file", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=name_of)
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    lines = file.read_text().count("\n")
    assert lines <= (TEST_LIMIT if "tests" in file.relative_to(ROOT).parts else LIMIT)
