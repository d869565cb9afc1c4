#!/bin/sh
# `make run`: two answering servers and the failover proxy on this machine, in
# the foreground, until Ctrl-C.
set -eu

tandem=${TANDEM:-build/tandem}
here=$(dirname "$0")
socket=$(dirname "$tandem")/run.sock
pids=

stop() {
  trap - EXIT INT TERM HUP QUIT
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait
}
trap stop EXIT
trap 'exit 0' INT TERM
trap 'exit 1' HUP QUIT

# They end with this shell, even when it is killed.
start() {
  setpriv --pdeathsig TERM "$tandem" run "$@" &
  pids="$pids $!"
}

start -c "$here/answer.lua" -l udp:127.0.0.1:5081 -L warn --ctl none
start -c "$here/answer.lua" -l udp:127.0.0.1:5082 -L warn --ctl none
start -c "$here/failover.lua" --ctl "$socket" --http 127.0.0.1:9091
proxy=$!
sleep 1
for pid in $pids; do
  kill -0 "$pid" 2>/dev/null || {
    echo "Not all of the three processes could start; the reason is above." >&2
    exit 1
  }
done

cat <<TEXT

Tandem is running (Ctrl-C ends it):

  proxy     127.0.0.1:5060   $here/failover.lua
  server a  127.0.0.1:5081   the primary, answers every call
  server b  127.0.0.1:5082   the backup, answers every call

Place a call: set 127.0.0.1:5060 as the outbound proxy of a softphone and call
anybody, or, from another terminal,

  sipp -sf $here/call.xml -m 1 127.0.0.1:5060

See the backup take over: end server a with

  kill $(echo "$pids" | cut -d' ' -f2)

and call again. Watch it at http://127.0.0.1:9091 meanwhile, or ask

  $tandem ctl -s $socket status
  $tandem ctl -s $socket why --last 2

The log below shows one line per call: who was tried, and what came of it.

TEXT
wait "$proxy"
