"""`./build.sh boards`: writes the files of examples/ that are made here."""

from pathlib import Path

from examples.boards.files import files

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write them, and say so."""
    for name, text in files().items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text)
        print(name)


if __name__ == "__main__":
    main()
