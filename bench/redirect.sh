#!/usr/bin/env bash
# CPU time per redirect: clickedge and nginx, side by side in one run.
#
# Both answer the same 100,000 links with 302 on one core; wrk runs on the other, over keep-alive connections, with the
# request headers of a browser. nginx maps host and path to the destination, returns it, and writes a JSON access log:
# once line by line, the default of `access_log`, and once through a buffer of 64 kB. clickedge redirects and captures
# each click; its worker, spool and delivery share the core, and every click ends in a gzipped object. The two take
# turns; the output is the median of the rounds, and the ratios of the medians.
#
#   bench/redirect.sh [ROUNDS] [SECONDS]      default 5 rounds of 8 seconds
#
# CPU time comes from the kernel (/proc/PID/task/*/stat): user and system, of the listener threads alone ("redirect,
# click captured") and of the whole process ("click delivered").
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${1:-5}
SECONDS_EACH=${2:-8}
CONNECTIONS=32
# shellcheck source=bench/common.sh
. bench/common.sh

need wrk:wrk nginx:nginx-light
build
links
wrk_script
NGINX_PORT=$(free_port 18080)
BUFFERED_PORT=$(free_port $((NGINX_PORT + 1)))
start_nginx "$(nginx_server "$NGINX_PORT" "$DIR/access.log click")
$(nginx_server "$BUFFERED_PORT" "$DIR/buffered.log click buffer=64k flush=1s")"
start_clickedge
wait_for "$NGINX_PORT"
wait_for "$EDGE_PORT"
wait_for "$ADMIN_PORT"
sleep 1
NGINX_WORKER=$(pgrep -P "$NGINX" | head -1)

# A first round for each, to warm up; it also proves that both answer with redirects only.
for port in "$NGINX_PORT" "$BUFFERED_PORT" "$EDGE_PORT"; do load "http://127.0.0.1:$port/" >/dev/null; done
settle

for round in $(seq "$ROUNDS"); do
  plain=$(cost load "$NGINX_WORKER" . "http://127.0.0.1:$NGINX_PORT/")
  buffered=$(cost load "$NGINX_WORKER" . "http://127.0.0.1:$BUFFERED_PORT/")

  all0=$(ticks "$EDGE"); front0=$(ticks "$EDGE" '^clicks')
  n=$(load "http://127.0.0.1:$EDGE_PORT/")
  settle
  all1=$(ticks "$EDGE"); front1=$(ticks "$EDGE" '^clicks')
  front=$(per_request $((front1 - front0)) "$n")
  all=$(per_request $((all1 - all0)) "$n")

  echo "$plain" >> "$DIR/plain"; echo "$buffered" >> "$DIR/buffered"
  echo "$front" >> "$DIR/front"; echo "$all" >> "$DIR/all"
  echo "round $round: nginx $plain us, buffered $buffered us; clickedge redirect + capture $front us, whole process $all us"
done

dropped=$(metric 'clickedge_clicks_dropped_total{reason="ring_full"}')
plain=$(median < "$DIR/plain")
buffered=$(median < "$DIR/buffered")
row() { awk -v name="$1" -v us="$2" -v a="$plain" -v b="$buffered" 'BEGIN { printf "%-44s %8.2f %8.2f %12.2f\n", name, us, us / a, us / b }'; }
printf '\n%-44s %8s %8s %12s\n' 'CPU per request, median' 'us' 'ratio' '(to buffered)'
row 'nginx: map, return 302, JSON access log' "$plain"
row 'nginx, the log buffered' "$buffered"
row 'clickedge: redirect, click captured' "$(median < "$DIR/front")"
row 'clickedge: click delivered, gzipped object' "$(median < "$DIR/all")"
echo "clicks dropped: $dropped"
