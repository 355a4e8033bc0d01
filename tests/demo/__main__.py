"""As root with a real dockerd; without root with a plain process in a container's place."""

import os
import sys

from tests.demo.telling import say


def main() -> None:
    stay = sys.argv[1:] == ["--stay"]
    if sys.argv[1:] and not stay:
        sys.exit(f"unknown: {' '.join(sys.argv[1:])}; there is --stay, which leaves it running with the page")
    if os.geteuid() == 0:
        from tests.demo import with_docker

        with_docker.show_all(stay)
    else:
        from tests.demo import without_docker

        without_docker.show_all(stay)
    say("done; nothing is left behind")


if __name__ == "__main__":
    main()
