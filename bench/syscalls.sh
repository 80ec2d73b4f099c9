#!/usr/bin/env bash
# System calls of the listener thread per click: over a kept connection, and per cold click, with and without TLS.
#
#   bench/syscalls.sh [SECONDS] [CONNECTIONS]      default 3 seconds for each, one connection at a time
#
# strace counts the calls, wrk makes the clicks: after a TLS handshake its request follows the client's
# Finished in a packet of its own. Installs both as root.
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH=${1:-3}
CONNECTIONS=${2:-1}
# shellcheck source=bench/common.sh
. bench/common.sh

need strace:strace wrk:wrk openssl:openssl
build
LINKS=1000
links
certificate
TLS_PORT=$(free_port 18380)
start_clickedge "[[listeners]]
address = \"127.0.0.1:$TLS_PORT\"
[[listeners.tls]]
certificate_file = \"tls.pem\"
key_file = \"tls.key\""
wait_for "$EDGE_PORT"
wait_for "$ADMIN_PORT"
sleep 1
LISTENER=$(basename "$(dirname "$(grep -l '^clicks' /proc/"$EDGE"/task/*/comm)")")

# The calls of the clicks of a URL, with the header `Connection` as given.
count() {
  local n
  CONNECTION=$1 wrk_script
  CONNECTION=$1 load "$2" >/dev/null
  strace -c -U calls,name -p "$LISTENER" -o "$DIR/calls" 2>/dev/null &
  local tracer=$!
  sleep 1
  n=$(CONNECTION=$1 load "$2")
  sleep 0.5
  kill -INT "$tracer"
  wait "$tracer" || true
  printf '\n%s, %s clicks\n' "$3" "$n"
  awk -v n="$n" '$1 ~ /^[0-9]+$/ && $2 != "total" && $1 / n >= 0.005 { printf "  %-14s %6.2f\n", $2, $1 / n; sum += $1 }
    END { printf "  %-14s %6.2f\n", "total", sum / n }' "$DIR/calls"
}

count keep-alive "http://127.0.0.1:$EDGE_PORT/" 'a connection that is kept'
count close "http://127.0.0.1:$EDGE_PORT/" 'a new connection for each click'
count close "https://127.0.0.1:$TLS_PORT/" 'a new TLS connection for each click'
