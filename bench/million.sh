#!/usr/bin/env bash
# A catalog of a million links under load, and the account afterwards: every answered click must be in the feed exactly
# once after a clean stop.
#
#   bench/million.sh [SECONDS]      default 20
#
# wrk requests random links, each request with a unique number in the query. Prints the load time and the memory of the
# catalog, the report of wrk, and the content of the feed. Fails when a click is missing, duplicated or dropped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v wrk >/dev/null; then
  [ "$(id -u)" = 0 ] || { echo "run this first: sudo apt-get install -y wrk" >&2; exit 1; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null
fi
SECONDS_LOAD=${1:-20}
LINKS=${LINKS:-1000000}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/clickedge-million.XXXXXX")
# The rings are in memory.
RINGS=$(mktemp -d /dev/shm/clickedge-bench.XXXXXX)
EDGE=
cleanup() {
  [ -z "$EDGE" ] || kill "$EDGE" 2>/dev/null || true
  rm -rf "$DIR" "$RINGS"
}
trap cleanup EXIT
if [ -z "${BINARY:-}" ]; then
  cargo build --locked --features full,jemalloc --release
  BINARY=${CARGO_TARGET_DIR:-target}/release/clickedge
fi

awk -v n="$LINKS" 'BEGIN {
  for (i = 0; i < n; i++)
    printf "{\"id\":\"%032x\",\"slashtag\":\"tag-%d\",\"destination\":\"https://www.example.com/landing/page-%d\",\"createdAt\":\"2026-03-01T09:30:00.000Z\",\"domain\":{\"id\":\"d-%d\",\"fullName\":\"go%d.brand.com\"},\"creator\":{\"id\":\"u-%d\",\"fullName\":\"Ana Lima\"},\"workspace\":{\"id\":\"w-%d\",\"name\":\"Marketing\"}}\n", i, i, i, i % 10, i % 10, i % 100, i % 100
}' > "$DIR/links.ndjson"

cat > "$DIR/load.lua" <<LUA
local thread_id = 0
function setup(thread)
  thread:set("id", thread_id)
  thread_id = thread_id + 1
end
local n = 0
function init()
  math.randomseed(os.time() + id)
end
function request()
  local link = math.random(0, $LINKS - 1)
  n = n + 1
  return string.format("GET /tag-%d?n=%d-%d HTTP/1.1\r\nHost: go%d.brand.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0\r\nAccept-Language: en\r\n\r\n",
    link, id, n, link % 10)
end
LUA

PORT=18380
ADMIN=18381
cat > "$DIR/clickedge.toml" <<TOML
[[listeners]]
address = "127.0.0.1:$PORT"
[catalog]
file = "links.ndjson"
[capture]
dir = "$RINGS"
[spool]
dir = "spool"
[admin]
address = "127.0.0.1:$ADMIN"
[[feeds]]
name = "all"
workspaces = ["*"]
sink.dir.path = "bucket"
TOML

started=$(date +%s.%N)
"$BINARY" serve --config "$DIR/clickedge.toml" 2> "$DIR/log" &
EDGE=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
  kill -0 "$EDGE" 2>/dev/null || { cat "$DIR/log" >&2; exit 1; }
  sleep 0.1
done
awk -v a="$started" -v b="$(date +%s.%N)" -v n="$LINKS" 'BEGIN { printf "%d links loaded and listening in %.1f s\n", n, b - a }'

wrk -t2 -c32 -d"$SECONDS_LOAD"s -s "$DIR/load.lua" "http://127.0.0.1:$PORT/" | tee "$DIR/wrk"
if grep -qE 'Socket errors|Non-2xx or 3xx' "$DIR/wrk"; then
  echo "FAILED: wrk saw errors" >&2
  exit 1
fi
grep -E 'VmHWM' "/proc/$EDGE/status"
kill -TERM "$EDGE"
wait "$EDGE"
EDGE=
tail -1 "$DIR/log"

find "$DIR/bucket" -name '*.gz' -exec zcat {} + > "$DIR/events"
seen=$(awk '/requests in/ { print $1 }' "$DIR/wrk")
answered=$(grep -o '"answered":[0-9]*' "$DIR/log" | tail -1 | cut -d: -f2)
dropped=$(grep -o '"clicks_dropped":[0-9]*' "$DIR/log" | tail -1 | cut -d: -f2)
events=$(wc -l < "$DIR/events")
ids=$(grep -o '^{"id":"[^"]*"' "$DIR/events" | sort -u | wc -l)
numbers=$(grep -o '"params":{"query":\[{"name":"n","value":"[^"]*"' "$DIR/events" | sort -u | wc -l)
wrong=$(grep -vcE '"slashtag":"tag-([0-9]+)".*/landing/page-\1"' "$DIR/events" || true)
echo "answers seen by wrk $seen, answered $answered, events $events, ids $ids, numbers $numbers, dropped $dropped, wrong $wrong"
# wrk stops in the middle: a few answers per connection are still in flight when it counts.
if [ "$events" != "$answered" ] || [ "$ids" != "$answered" ] || [ "$numbers" != "$answered" ] || [ "$dropped" != 0 ] ||
  [ "$wrong" != 0 ] ||
  [ "$seen" -gt "$answered" ] || [ $((answered - seen)) -gt 64 ]; then
  echo FAILED
  exit 1
fi
echo "OK: every click is in the feed exactly once"
