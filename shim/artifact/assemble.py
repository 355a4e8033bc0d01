"""Puts the prologue and the start-up path in front of the zip that shiv made.

    python -m shim.artifact.assemble SHIV_FILE OUTPUT

The start-up path is embedded as text, not imported from the zip: Python reads a zip's whole directory
before the first import, and compiled files in it fit one Python version only.  Text for 200 lines
compiles in about 2 ms on any.
"""

import ast
import io
import os
import sys
import zipfile
from pathlib import Path

from shim import __version__

HERE = Path(__file__).parent
START_UP = ("flags.py", "start.py")
# Zip's epoch: the same bytes from any two builds.
EPOCH = (1980, 1, 1, 0, 0, 0)


class _Strip(ast.NodeTransformer):
    """Drops what only readers and type checkers need, and imports between the embedded files."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if (node.module or "").startswith("shim.") else node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | ast.Pass:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if is_text else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return node


def start_up_source(directory: Path) -> str:
    """The start-up path's files as one module without comments, docstrings and annotations."""
    body: list[ast.stmt] = []
    for name in START_UP:
        tree = _Strip().visit(ast.parse((directory / name).read_text(), name))
        body += [node for node in tree.body if not isinstance(node, ast.Pass)]
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))) + "\n"


def prologue(source: bytes) -> bytes:
    """The shell prologue, with the place of ``source`` (which follows it) filled in."""
    template = (HERE / "prologue.sh").read_text().replace("@VERSION@", __version__)
    template = template.replace("@LENGTH@", str(len(source)))
    # The offset is the prologue's own length, which the offset's digits are part of.
    offset = len(template)
    while len(text := template.replace("@OFFSET@", str(offset))) != offset:
        offset = len(text)
    return text.encode()


def repack(shiv_file: Path, main: bytes) -> bytes:
    """shiv's zip with our ``__main__`` in it, in a fixed order, with fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(shiv_file) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in sorted(old.namelist()):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, main if name == "__main__.py" else old.read(name), compresslevel=9)
    return buffer.getvalue()


def main() -> None:
    shiv_file, output = Path(sys.argv[1]), Path(sys.argv[2])
    source = start_up_source(HERE.parent / "proxy").encode()
    head = prologue(source) + source
    zipped = repack(shiv_file, (HERE / "zip_main.py").read_bytes())
    partial = output.with_suffix(".partial")
    # Written beside and renamed: a file that is running is never changed in place.
    partial.write_bytes(head + zipped)
    partial.chmod(0o755)
    os.replace(partial, output)
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, start-up path {len(source)} bytes of Python")


if __name__ == "__main__":
    main()
