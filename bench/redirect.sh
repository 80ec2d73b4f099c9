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
LINKS=100000
CONNECTIONS=32
DIR=$(mktemp -d "${TMPDIR:-/tmp}/clickedge-bench.XXXXXX")
# The rings are in memory.
RINGS=$(mktemp -d /dev/shm/clickedge-bench.XXXXXX)
TICK=$(getconf CLK_TCK)

need() {
  local missing=()
  command -v wrk >/dev/null || missing+=(wrk)
  command -v nginx >/dev/null || missing+=(nginx-light)
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    echo "run this first: sudo apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
}

PIDS=()
cleanup() {
  [ ${#PIDS[@]} = 0 ] || kill "${PIDS[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$DIR" "$RINGS"
}
trap cleanup EXIT

# A free port, below the range of outgoing connections.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

links() {
  awk -v n="$LINKS" 'BEGIN {
    for (i = 0; i < n; i++) {
      domain = "go" (i % 10) ".brand.com"
      printf "{\"id\":\"%032x\",\"slashtag\":\"tag-%06x\",\"destination\":\"https://www.example.com/landing/page-%d?utm_source=link&utm_campaign=c%d\",\"createdAt\":\"2026-03-01T09:30:00.000Z\",\"domain\":{\"id\":\"d-%d\",\"fullName\":\"%s\"},\"creator\":{\"id\":\"u-%d\",\"fullName\":\"Ana Lima\"},\"workspace\":{\"id\":\"w-%d\",\"name\":\"Marketing\"},\"tags\":[{\"id\":\"t-%d\",\"name\":\"Campaign %d\"}]}\n", i, i, i, i % 50, i % 10, domain, i % 100, i % 100, i % 200, i % 200
    }
  }' > "$DIR/links.ndjson"
  awk -v n="$LINKS" 'BEGIN {
    print "map $host$uri $destination {\n  default \"\";"
    for (i = 0; i < n; i++)
      printf "  go%d.brand.com/tag-%06x \"https://www.example.com/landing/page-%d?utm_source=link&utm_campaign=c%d\";\n", i % 10, i, i, i % 50
    print "}"
  }' > "$DIR/map.conf"
}

wrk_script() {
  cat > "$DIR/load.lua" <<LUA
local agents = {
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
  "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:133.0) Gecko/20100101 Firefox/133.0",
}
local referers = { nil, "https://www.google.com/", "https://l.facebook.com/", "https://t.co/abcdef" }
local requests = {}
function init()
  math.randomseed(os.time())
  for i = 1, 20000 do
    local link = math.random(0, $LINKS - 1)
    local headers = {
      ["Host"] = string.format("go%d.brand.com", link % 10),
      ["User-Agent"] = agents[math.random(#agents)],
      ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
      ["Accept-Language"] = "en-US,en;q=0.9,de;q=0.7",
      ["Accept-Encoding"] = "gzip, deflate, br, zstd",
      ["Referer"] = referers[math.random(4)],
      ["Connection"] = "keep-alive",
      ["Upgrade-Insecure-Requests"] = "1",
      ["Sec-Fetch-Dest"] = "document",
      ["Sec-Fetch-Mode"] = "navigate",
      ["Sec-Fetch-Site"] = "cross-site",
      ["Sec-Fetch-User"] = "?1",
    }
    requests[i] = wrk.format("GET", string.format("/tag-%06x", link), headers)
  end
end
local n = 0
function request()
  n = n % #requests + 1
  return requests[n]
end
LUA
}

start_nginx() {
  NGINX_PORT=$(free_port 18080)
  BUFFERED_PORT=$(free_port $((NGINX_PORT + 1)))
  cat > "$DIR/nginx.conf" <<CONF
worker_processes 1;
error_log $DIR/nginx-error.log warn;
pid $DIR/nginx.pid;
daemon off;
events { worker_connections 1024; }
http {
  map_hash_max_size 262144;
  map_hash_bucket_size 128;
  include $DIR/map.conf;
  keepalive_requests 100000000;
  log_format click escape=json '{"time":"\$time_iso8601","remote":"\$remote_addr","host":"\$host","uri":"\$uri",'
    '"args":"\$args","status":\$status,"destination":"\$destination","referer":"\$http_referer",'
    '"agent":"\$http_user_agent","language":"\$http_accept_language"}';
  add_header Cache-Control "private, no-store" always;
  server {
    listen 127.0.0.1:$NGINX_PORT;
    access_log $DIR/access.log click;
    if (\$destination = "") { return 404; }
    return 302 \$destination;
  }
  server {
    listen 127.0.0.1:$BUFFERED_PORT;
    access_log $DIR/buffered.log click buffer=64k flush=1s;
    if (\$destination = "") { return 404; }
    return 302 \$destination;
  }
}
CONF
  taskset -c 0 nginx -c "$DIR/nginx.conf" &
  PIDS+=($!)
  NGINX=$!
}

start_clickedge() {
  EDGE_PORT=$(free_port 18180)
  ADMIN_PORT=$(free_port 18280)
  cat > "$DIR/clickedge.toml" <<TOML
[edge]
threads = 1
[[listeners]]
address = "127.0.0.1:$EDGE_PORT"
[catalog]
file = "links.ndjson"
[enrich]
workers = 1
geoip_file = "$PWD/conf/demo/geoip.mmdb"
[capture]
dir = "$RINGS"
[spool]
dir = "spool"
[admin]
address = "127.0.0.1:$ADMIN_PORT"
[telemetry]
log_level = "warn"
[[feeds]]
name = "bench"
workspaces = ["*"]
max_age_secs = 1
hold_back_secs = 0
sink.dir.path = "bucket"
TOML
  taskset -c 0 "$BINARY" serve --config "$DIR/clickedge.toml" &
  PIDS+=($!)
  EDGE=$!
}

wait_for() {
  for _ in $(seq 600); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  echo "port $1 did not open" >&2
  exit 1
}

# User and system ticks of the threads of a process with a matching name.
ticks() {
  local pid=$1 name=${2:-.} sum=0 task stat
  for task in /proc/"$pid"/task/*; do
    grep -qE "$name" "$task/comm" || continue
    stat=$(sed 's/.*) //' "$task/stat")
    # shellcheck disable=SC2086
    set -- $stat
    sum=$((sum + ${12} + ${13}))
  done
  echo "$sum"
}

# Prints the number of requests of one round of wrk; exits on any error.
load() {
  local out
  out=$(taskset -c 1 wrk -t1 -c"$CONNECTIONS" -d"$SECONDS_EACH"s -s "$DIR/load.lua" "http://127.0.0.1:$1/")
  if grep -qE 'Socket errors|Non-2xx or 3xx' <<<"$out"; then
    echo "$out" >&2
    exit 1
  fi
  awk '/requests in/ { print $1 }' <<<"$out"
}

metric() {
  exec 3<>"/dev/tcp/127.0.0.1/$ADMIN_PORT"
  printf 'GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3
  awk -v name="$1" '$1 == name { print $2 }' <&3
  exec 3>&-
}

# Waits until every click is delivered: the work of a round belongs to the round.
settle() {
  sleep 0.3
  while [ "$(metric clickedge_ring_clicks)" != 0 ] || [ "$(metric 'clickedge_events_pending{feed="bench"}')" != 0 ]; do
    sleep 0.1
  done
}

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
per_request() { awk -v t="$1" -v n="$2" -v hz="$TICK" 'BEGIN { printf "%.3f", t / hz * 1e6 / n }'; }

need
if [ -z "${BINARY:-}" ]; then
  cargo build --locked --release
  BINARY=${CARGO_TARGET_DIR:-target}/release/clickedge
fi
links
wrk_script
start_nginx
start_clickedge
wait_for "$NGINX_PORT"
wait_for "$EDGE_PORT"
wait_for "$ADMIN_PORT"
sleep 1
NGINX_WORKER=$(pgrep -P "$NGINX" | head -1)

# A first round for each, to warm up; it also proves that both answer with redirects only.
load "$NGINX_PORT" >/dev/null
load "$BUFFERED_PORT" >/dev/null
load "$EDGE_PORT" >/dev/null
settle

nginx_cost() {
  local before after n
  before=$(ticks "$NGINX_WORKER")
  n=$(load "$1")
  after=$(ticks "$NGINX_WORKER")
  per_request $((after - before)) "$n"
}

for round in $(seq "$ROUNDS"); do
  plain=$(nginx_cost "$NGINX_PORT")
  buffered=$(nginx_cost "$BUFFERED_PORT")

  all0=$(ticks "$EDGE"); front0=$(ticks "$EDGE" '^clicks')
  n=$(load "$EDGE_PORT")
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
