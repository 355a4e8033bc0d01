"""As root with a real dockerd; without root with a plain process in a container's place."""

import os

from tests.demo.telling import say


def main() -> None:
    if os.geteuid() == 0:
        from tests.demo import with_docker

        with_docker.show_all()
    else:
        from tests.demo import without_docker

        without_docker.show_all()
    say("done; nothing is left behind")


if __name__ == "__main__":
    main()
