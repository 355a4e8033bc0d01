"""On a Debian host that boots: what systemd, Docker and this project are to each other there."""
