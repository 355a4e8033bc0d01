"""Prints setup.cfg's requirements of one extra, a line each: ``python -m shim.artifact.pins EXTRA``."""

import configparser
import sys


def main() -> None:
    """Print them: the extra's name is the argument, the current directory the project's."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg")
    print(setup["options.extras_require"][sys.argv[1]].strip())


if __name__ == "__main__":
    main()
