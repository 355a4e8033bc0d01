#!/bin/sh
# envoy-docker-shim @VERSION@
# start-up path: @TEXT@ @LENGTH@ @HASH@ @MAGIC@
# One file: this shell prologue, the Python source that dockerd's proxies start with, and a zip
# application made by shiv.  The prologue chooses, and starts ports where it can; a zip may carry any prefix.

# python3, but if possible not a version manager's stand-in: a script that takes longer than a shim's start-up.
# And none of the working directory, which any user may have written.
find_python() {
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
}

# Not through the zip: reading its directory alone takes longer than all this.
start_by_python() {
  find_python
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
}

# dockerd starts a proxy, or a user means one of the roles.  Each shell reads no further than it has to.
role=
case ${1-} in
-h | -help | --help | -v | --v | -version | --version) role=1 ;;
-*)
  at=${SHIM_SOCKET:-@DEFAULT_SOCKET@}
  case $at:$0 in
  *\'* | [!/]* | *:[!/]*) start_by_python "$@" ;;
  esac
  case $* in
  *" @GIVEN@") [ "$at@START_SUFFIX@" -ef "$at@STARTER_SUFFIX@" ] || start_by_python "$@" ;;
  *) start_by_python "$@" ;;
  esac
  ;;
*) role=1 ;;
esac
[ ! "$role" ] || {
  find_python
  [ "$python" ] || {
    echo "envoy-docker-shim: needs python3 (3.10 or newer) in PATH, which is: $PATH" >&2
    exit 1
  }
  exec "$python" -IS "$0" "$@"
}

# A port that dockerd gives, where a registrar runs: that takes the port from outside (shim.registrar.starts), and
# this shell parks.  Python would take ten times as long.  Whatever is not as it should be makes it return, and
# Python starts: it says what is wrong.
#
# The link leads to the FIFO only through a process that has it open: the registrar.  Here-documents make pipes
# (of an empty line, which means nothing at their other end) in dash, busybox, and bash from 5.1 on.  dockerd is
# told of a TCP port before the registrar has it, as nothing can be wrong with that; a UDP port may be refused.
# A registrar that was stopped by a signal is not asked: the kernel says what it waits in.
#
# A shell cannot wait with a bound but by a second process, which would cost more than all the rest.  So it looks
# first, by the mode of its pipe, and makes a timer only where the registrar has not answered by then.
start() {
  [ -O "$at@START_SUFFIX@" ] && [ ! -e "$at@LATE_SUFFIX@" ] && [ -S /proc/self/fd/@LISTEN_FD@ ] || return
  looks=0 timer= word= waits_in=
  read -r waits_in 2>/dev/null <"$at@WCHAN_SUFFIX@"
  case $waits_in in
  *_stop) return ;;
  esac
  command exec 5<<. 9<<. || return

.

.
  [ -p /proc/self/fd/5 ] &&
    command exec @LEASE_FD@>/proc/self/fd/5 @WAKE_FD@<>/proc/self/fd/9 @PORT_FD@<&@LISTEN_FD@ 5<&- 9<&- &&
    echo "$$" 1<>"$at@START_SUFFIX@" || return
  [ "$2" = udp ] || report
  until [ -k /proc/self/fd/@LEASE_FD@ ] || [ "$((looks += 1))" -gt @START_LOOKS@ ]; do :; done
  if [ ! -k /proc/self/fd/@LEASE_FD@ ]; then
    {
      sleep @START_WAIT@
      echo @LATE@ >&@WAKE_FD@
    } @REPORT_FD@>&- @LISTEN_FD@<&- @LEASE_FD@>&- @PORT_FD@<&- &
    timer=$!
  fi
  until [ "$word" ]; do read -r word <&@WAKE_FD@ || return; done
  [ ! "$timer" ] || {
    kill -s KILL "$timer"
    wait "$timer"
  } 2>/dev/null
  if [ "$word" != @READY@ ]; then
    [ "$word" != @LATE@ ] || echo >"$at@LATE_SUFFIX@"
    return
  fi
  [ "$2" = tcp ] || report
  exec @REPORT_FD@>&- @LISTEN_FD@<&-
  exec /bin/sh -c "$parked" @NAME@ "$@"
}

report() {
  echo 0 >&@REPORT_FD@ || exit 1
  exec @REPORT_FD@>/dev/null # for Python, should it come to that
}

case $* in
"-proto tcp "*)
  parked=@TCP@
  start "$@"
  ;;
"-proto udp "*)
  find_python
  case $python in
  '' | *\'*) ;;
  *)
    parked=@UDP@
    start "$@"
    ;;
  esac
  ;;
esac
start_by_python "$@"
exit 1
