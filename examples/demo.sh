#!/bin/sh
# `make demo`: the story of a failover without a phone. Two answering servers, the
# proxy, and a caller that is a Tandem script. Exits 0 when every call did what the
# story says.
set -eu

tandem=${TANDEM:-build/tandem}
demo=$(dirname "$0")/demo
answer=$(dirname "$0")/answer.lua
work=$(mktemp -d)
pids=
failed=0

stop() {
  trap - EXIT INT TERM HUP QUIT
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 1' TERM HUP QUIT

# run NAME ARGS...: its pid is $NAME. It ends with this shell, even when that is killed.
run() {
  name=$1
  shift
  : >"$work/$name.log" # not that of its predecessor, which says what we wait for
  setpriv --pdeathsig TERM "$tandem" run "$@" >"$work/$name.log" 2>&1 &
  pids="$pids $!"
  eval "$name=$!"
}

# start NAME ARGS...: the same, and waits until it listens. There is no story without it.
start() {
  run "$@"
  tries=100
  until grep -q "event=start" "$work/$name.log"; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! eval "kill -0 \$$name" 2>/dev/null; then
      echo "  $name could not start:"
      cat "$work/$name.log"
      exit 1
    fi
    sleep 0.1
  done
}

# wait_for NAME TEXT SECONDS: a line with the text, new since the last mark.
mark() { wc -l <"$work/$1.log" >"$work/$1.mark"; }
wait_for() {
  tries=$(($3 * 10))
  while [ "$tries" -gt 0 ]; do
    if tail -n "+$(($(cat "$work/$1.mark" 2>/dev/null || echo 0) + 1))" \
      "$work/$1.log" | grep -q "$2"; then
      return 0
    fi
    tries=$((tries - 1))
    sleep 0.1
  done
  echo "  (waited $3 s in vain for \"$2\" in the log of $1)"
  tail -n 5 "$work/$1.log"
  failed=1
  return 0
}

call() { # WANTED SERVER PORT
  run caller -c "$demo/caller.lua"
  wait_for caller "call ended" 12
  sleep 0.2
  # shellcheck disable=SC2154
  kill "$caller" 2>/dev/null || true
  wait "$caller" 2>/dev/null || true
  line=$(grep "call ended" "$work/caller.log" || true)
  if echo "$line" | grep -q "code=200" && echo "$line" | grep -q ":$2"; then
    ms=$(echo "$line" | sed 's/.*ms=\([0-9]*\).*/\1/')
    echo "  answered by $1 after $ms ms"
  else
    echo "  NOT answered by $1: $line"
    failed=1
  fi
}

echo "Two servers that answer every call, a (primary) and b (backup), and the proxy:"
start a -c "$answer" -l udp:127.0.0.1:5091
start b -c "$answer" -l udp:127.0.0.1:5092
start proxy -c "$demo/route.lua" -L debug
wait_for proxy "event=server.health.*server=a.*to=up" 5
wait_for proxy "event=server.health.*server=b.*to=up" 5
echo "  all three are up."

echo "A call:"
call a 5091

echo "The primary is killed (SIGKILL), and the next call comes at once:"
mark proxy
# shellcheck disable=SC2154
kill -9 "$a"
wait "$a" 2>/dev/null || true
call b 5092

echo "The checks have noticed, too:"
wait_for proxy "event=server.health.*server=a.*to=down" 5
echo "  a is down."

echo "The primary returns; for its hold of 3 s the calls stay where they are:"
mark proxy
start a -c "$answer" -l udp:127.0.0.1:5091
wait_for proxy "event=server.health.*server=a.*to=up" 5
call b 5092

echo "Failback: after the hold a call meets the primary again:"
sleep 3
call a 5091

echo
lua5.4 "$demo/ladder.lua" "$work/proxy.log" 127.0.0.1:5091=a 127.0.0.1:5092=b \
  127.0.0.1:5093=caller

echo
if [ "$failed" -eq 0 ]; then
  echo "Every call did what it should."
else
  echo "The story went wrong; see above."
fi
exit "$failed"
