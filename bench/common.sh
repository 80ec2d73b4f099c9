# What the benchmarks next to nginx share: links, load, the edge, and how CPU time is read. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

LINKS=${LINKS:-100000}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/clickedge-bench.XXXXXX")
# The rings are in memory.
RINGS=$(mktemp -d /dev/shm/clickedge-bench.XXXXXX)
TICK=$(getconf CLK_TCK)

# Installs what is missing: pairs of command and Debian package.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
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
      ["Connection"] = "${CONNECTION:-keep-alive}",
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

# A self-signed certificate, `tls.pem` with `tls.key`.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=go0.brand.com \
    -addext "subjectAltName=DNS:go0.brand.com,DNS:localhost" -keyout "$DIR/tls.key" -out "$DIR/tls.pem" 2>/dev/null
}

# nginx on one core, with a map of the links, these servers, and the log format `click`. The caller says which log.
start_nginx() {
  cat > "$DIR/nginx.conf" <<CONF
worker_processes 1;
error_log $DIR/nginx-error.log warn;
pid $DIR/nginx.pid;
daemon off;
events { worker_connections 4096; }
http {
  map_hash_max_size 262144;
  map_hash_bucket_size 128;
  include $DIR/map.conf;
  keepalive_requests 100000000;
  log_format click escape=json '{"time":"\$time_iso8601","remote":"\$remote_addr","host":"\$host","uri":"\$uri",'
    '"args":"\$args","status":\$status,"destination":"\$destination","referer":"\$http_referer",'
    '"agent":"\$http_user_agent","language":"\$http_accept_language"}';
  add_header Cache-Control "private, no-store" always;
  $1
}
CONF
  taskset -c 0 nginx -c "$DIR/nginx.conf" &
  PIDS+=($!)
  NGINX=$!
}

# One of nginx's servers.
nginx_server() {
  printf '  server {\n    listen 127.0.0.1:%s;\n    access_log %s;\n' "$1" "$2"
  printf '    if ($destination = "") { return 404; }\n    return 302 $destination;\n  }\n'
}

# Builds the release, unless BINARY names one.
build() {
  if [ -z "${BINARY:-}" ]; then
    cargo build --locked --features full,jemalloc --release
    BINARY=${CARGO_TARGET_DIR:-target}/release/clickedge
  fi
}

# The edge on one core. Further lines of its listener come from the caller.
start_clickedge() {
  EDGE_PORT=$(free_port 18180)
  ADMIN_PORT=$(free_port 18280)
  cat > "$DIR/clickedge.toml" <<TOML
[edge]
threads = 1
[[listeners]]
address = "127.0.0.1:$EDGE_PORT"
${1:-}
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

# Prints the number of requests of one round of wrk for a URL; exits on any answer that is not a redirect, and over
# keep-alive connections on any error.
load() {
  local out errors='Non-2xx or 3xx'
  [ "${CONNECTION:-}" = close ] || errors="Socket errors|$errors"
  out=$(taskset -c 1 wrk -t1 -c"$CONNECTIONS" -d"$SECONDS_EACH"s -s "$DIR/load.lua" "$1")
  if grep -qE "$errors" <<<"$out"; then
    echo "$out" >&2
    exit 1
  fi
  awk '/requests in/ { print $1 }' <<<"$out"
}

# CPU time per request of the process $2, threads $3, under load $1 for the URL $4.
cost() {
  local before after n
  before=$(ticks "$2" "$3")
  n=$("$1" "$4")
  after=$(ticks "$2" "$3")
  per_request $((after - before)) "$n"
}

metric() {
  exec 3<>"/dev/tcp/127.0.0.1/$ADMIN_PORT"
  printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
  awk -v name="$1" '$1 == name { print $2 }' <&3
  exec 3>&-
}

# Waits until every click is delivered and counted: the work of a round belongs to the round.
settle() {
  sleep 0.3
  while [ "$(metric clickedge_ring_clicks)" != 0 ] || [ "$(metric 'clickedge_events_pending{feed="bench"}')" != 0 ] ||
    [ "$(metric clickedge_stats_tallied_total)" != "$(metric clickedge_stats_counted_total)" ]; do
    # Seldom: answering costs the edge something, too.
    sleep 0.5
  done
}

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
per_request() { awk -v t="$1" -v n="$2" -v hz="$TICK" 'BEGIN { printf "%.3f", t / hz * 1e6 / n }'; }

