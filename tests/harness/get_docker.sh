#!/bin/sh
# Unpacks the Docker Engine (dockerd, docker-proxy, containerd and its shim) of a Debian RELEASE under DIR, so that
# it can run beside whatever engine the machine has; nothing is installed.  runc and the docker command stay
# the machine's.
#   get_docker.sh RELEASE DIR
set -eu
release=${1:?usage: get_docker.sh RELEASE DIR}
target=${2:?usage: get_docker.sh RELEASE DIR}
[ ! -x "$target/usr/sbin/dockerd" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "get_docker.sh: apt-get needs root" >&2; exit 1; }
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The machine's own Debian mirror, in either of apt's formats; a machine that is no Debian gets the main one.
mirror=$(
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^ *#' | grep -Eo 'https?://[^ ]+/debian/?( |$)' | head -n 1
) || true
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] && signed="[signed-by=$keys]" || signed=
echo "deb $signed ${mirror:-http://deb.debian.org/debian} $release main" >"$work/sources.list"

mkdir -p "$work/lists/partial" "$work/debs" "$work/tree"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$work/debs" && apt download docker.io containerd)
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/tree"; done
"$work/tree/usr/sbin/dockerd" --version

# In one step: whoever looks sees all of it or nothing; of two that fetched at once the second gives way.
mv -T "$work/tree" "$target" 2>/dev/null || [ -x "$target/usr/sbin/dockerd" ]
