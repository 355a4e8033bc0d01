#!/bin/sh
# envoy-docker-shim @VERSION@
# start-up path: @TEXT@ @LENGTH@ @HASH@ @MAGIC@
# One file: this shell prologue, the Python source that dockerd's proxies start with, and a zip
# application made by shiv.  The prologue only chooses; a zip may carry any prefix.

# python3, but if possible not a version manager's stand-in: a script that takes longer than a shim's start-up.
# And none of the working directory, which any user may have written.
python=
set -f
IFS=:
for directory in $PATH; do
  case $directory in
  /*/shims) [ "$python" ] || [ ! -x "$directory/python3" ] || python=$directory/python3 ;;
  /*)
    if [ -x "$directory/python3" ]; then
      python=$directory/python3
      break
    fi
    ;;
  esac
done
unset IFS
case ${1-} in
-h | -help | --help | -v | --v | -version | --version) ;;
-*)
  # dockerd starts a proxy.  Not through the zip: reading its directory alone takes longer than all this.
  [ "$python" ] || {
    echo "1
envoy-docker-shim needs python3 (3.10 or newer) in dockerd's PATH, which is: $PATH" >&3
    exit 1
  }
  exec "$python" -IS -c 'import sys
if sys.version_info < (3, 10):
    open(3, "w").write("1\nenvoy-docker-shim needs Python 3.10 or newer, and python3 is " + sys.version)
    sys.exit(1)
import marshal
from _frozen_importlib_external import MAGIC_NUMBER
with open(sys.argv[1], "rb") as file:
    if MAGIC_NUMBER.hex() == "@MAGIC@":
        file.seek(@CODE@)
        exec(marshal.load(file))
    else:
        file.seek(@TEXT@)
        text = file.read(@LENGTH@)
        exec(file.read(@OTHER@))
main(sys.argv[1], sys.argv[2:])' "$0" "$@"
  ;;
esac
[ "$python" ] || {
  echo "envoy-docker-shim: needs python3 (3.10 or newer) in PATH, which is: $PATH" >&2
  exit 1
}
exec "$python" -IS "$0" "$@"
exit 1
