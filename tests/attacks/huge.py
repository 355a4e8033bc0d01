"""Processes with a shim's command line, 2 MB of it each.  Run as a program:  huge.py UID COUNT MARK

Says "there" once all run, and ends with them when its standard input does.
"""

import os
import subprocess
import sys


def main() -> None:
    user, count, mark = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    words = ["sh", "-c", f"{mark}\necho; read x", "envoy-docker-shim", *["-v" * 32_000] * 30]
    all_of_them = []
    for _ in range(count):
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        all_of_them.append(process)
    for process in all_of_them:
        assert process.stdout is not None
        process.stdout.readline()
    print("there", flush=True)
    sys.stdin.read()
    for process in all_of_them:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
