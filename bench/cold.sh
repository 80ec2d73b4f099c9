#!/usr/bin/env bash
# CPU time per cold HTTPS click: connect, TLS 1.3 handshake (ECDSA P-256), one redirect, close. clickedge and nginx with
# OpenSSL, side by side in one run.
#
# Each answers the same 100,000 links on one core; wrk runs on the other and makes a connection for each request, as
# nearly every real visitor does. Both prefer TLS_AES_128_GCM_SHA256. nginx writes a JSON access log through a buffer of
# 64 kB. With h2load there are rounds over HTTP/2, too, next to nginx with `http2`. The servers take turns; the output
# is the median of the rounds.
#
#   bench/cold.sh [ROUNDS] [SECONDS]      default 5 rounds of 8 seconds
#
# CPU time comes from the kernel: of the listener threads ("redirect, click captured"), and of nginx's worker.
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${1:-5}
SECONDS_EACH=${2:-8}
CONNECTIONS=16
# Connections over HTTP/2: h2load makes one for each request, so many a second.
H2_CONNECTIONS=4000
H2_RATE=1000
# Read by the load script.
# shellcheck disable=SC2034
CONNECTION=close
# shellcheck source=bench/common.sh
. bench/common.sh

# `load` over HTTP/2, each request on a connection of its own.
load_h2() {
  local out
  out=$(taskset -c 1 h2load --npn-list h2 -n "$H2_CONNECTIONS" -c "$H2_CONNECTIONS" -m 1 --rate "$H2_RATE" -H ':authority: go0.brand.com' \
    -H 'user-agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36' \
    -H 'accept: text/html' -H 'accept-language: en-US,en;q=0.9' "$1tag-000000")
  grep -q " $H2_CONNECTIONS succeeded" <<<"$out" || { echo "$out" >&2; exit 1; }
  awk '/^requests:/ { print $8 }' <<<"$out"
}

need wrk:wrk nginx:nginx-light h2load:nghttp2-client openssl:openssl
build
links
wrk_script
certificate
NGINX_PORT=$(free_port 18080)
H2_PORT=$(free_port $((NGINX_PORT + 1)))
LOG="$DIR/buffered.log click buffer=64k flush=1s"
start_nginx "ssl_certificate $DIR/tls.pem;
  ssl_certificate_key $DIR/tls.key;
  ssl_protocols TLSv1.3;
  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
$(nginx_server "$NGINX_PORT ssl backlog=4096" "$LOG")
$(nginx_server "$H2_PORT ssl http2 backlog=4096" "$LOG")"
start_clickedge "alpn = [\"http/1.1\", \"h2\"]
[[listeners.tls]]
certificate_file = \"tls.pem\"
key_file = \"tls.key\"
[limits]
connections_per_address = 0"
wait_for "$NGINX_PORT"
wait_for "$EDGE_PORT"
wait_for "$ADMIN_PORT"
sleep 1
NGINX_WORKER=$(pgrep -P "$NGINX" | head -1)

for port in "$NGINX_PORT" "$EDGE_PORT"; do load "https://127.0.0.1:$port/" >/dev/null; done
for port in "$H2_PORT" "$EDGE_PORT"; do load_h2 "https://127.0.0.1:$port/" >/dev/null; done
settle

for round in $(seq "$ROUNDS"); do
  nginx=$(cost load "$NGINX_WORKER" . "https://127.0.0.1:$NGINX_PORT/")
  nginx_h2=$(cost load_h2 "$NGINX_WORKER" . "https://127.0.0.1:$H2_PORT/")
  edge=$(cost load "$EDGE" '^clicks' "https://127.0.0.1:$EDGE_PORT/")
  edge_h2=$(cost load_h2 "$EDGE" '^clicks' "https://127.0.0.1:$EDGE_PORT/")
  settle
  for name in nginx nginx_h2 edge edge_h2; do echo "${!name}" >> "$DIR/$name"; done
  echo "round $round: HTTP/1.1 nginx $nginx us, clickedge $edge us; HTTP/2 nginx $nginx_h2 us, clickedge $edge_h2 us"
done

base=$(median < "$DIR/nginx")
row() { awk -v name="$1" -v us="$2" -v base="$base" 'BEGIN { printf "%-52s %8.1f %8.2f\n", name, us, us / base }'; }
printf '\n%-52s %8s %8s\n' 'CPU per cold HTTPS click, median' 'us' 'ratio'
row 'nginx: OpenSSL, HTTP/1.1, buffered JSON log' "$base"
row 'nginx: the same, HTTP/2' "$(median < "$DIR/nginx_h2")"
row 'clickedge: HTTP/1.1, click captured' "$(median < "$DIR/edge")"
row 'clickedge: HTTP/2, click captured' "$(median < "$DIR/edge_h2")"
