#!/usr/bin/env bash
# A catalog of ten million links: what a snapshot costs to build, to open, to look up and to serve.
#
#   bench/catalog.sh [LINKS]        default 10000000; 100000000 needs 30 GB of disk
#
# Links are made while they are read, on the other core. Prints the time of the build and its memory (its own, and with
# the mapped file), the size of a link, the time to open it, the time of a look-up (random links, so mostly outside of
# the processor's caches), and the memory of an edge that serves it. FOLDER is where files go.
set -euo pipefail
cd "$(dirname "$0")/.."

LINKS=${1:-10000000}
DIR=$(mktemp -d "${FOLDER:-${TMPDIR:-/tmp}}/clickedge-catalog.XXXXXX")
# The rings are in memory.
RINGS=$(mktemp -d /dev/shm/clickedge-bench.XXXXXX)
EDGE=
cleanup() {
  [ -z "$EDGE" ] || kill "$EDGE" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$DIR" "$RINGS"
}
trap cleanup EXIT
if [ -z "${BINARY:-}" ]; then
  cargo build --locked --features full,jemalloc --release
  BINARY=${CARGO_TARGET_DIR:-target}/release/clickedge
fi
if [ -z "${BENCH:-}" ]; then
  BENCH=$(cargo bench --locked --features full,jemalloc --no-run --bench catalog --message-format json |
    sed -n 's/.*"executable":"\([^"]*catalog[^"]*\)".*/\1/p' | tail -1)
fi
MEMORY=${MEMORY:-512}

# The largest value of some lines of a process's status, in MB, until it ends.
watch_memory() {
  local pid=$1 anonymous=0 all=0 now
  while now=$(awk '/^RssAnon/ { a = $2 } /^VmHWM/ { h = $2 } END { print a + 0, h + 0 }' "/proc/$pid/status" 2>/dev/null); do
    [ "${now% *}" -le "$anonymous" ] || anonymous=${now% *}
    [ "${now#* }" -le "$all" ] || all=${now#* }
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  awk -v a="$anonymous" -v h="$all" 'BEGIN { printf "memory of the build          %9.0f MB, with mapped files %.0f MB\n", a / 1024, h / 1024 }'
}

mkfifo "$DIR/links"
"$BENCH" links "$LINKS" > "$DIR/links" &
started=$(date +%s.%N)
"$BINARY" catalog build --domains-first --memory "$MEMORY" -o "$DIR/all.snapshot" "$DIR/links" > "$DIR/built" &
build=$!
watch_memory "$build" > "$DIR/memory" &
watcher=$!
wait "$build"
ended=$(date +%s.%N)
wait "$watcher"
cat "$DIR/built"
awk -v a="$started" -v b="$ended" -v n="$LINKS" \
  'BEGIN { printf "build                        %9.1f s, %.2f us a link\n", b - a, (b - a) / n * 1e6 }'
cat "$DIR/memory"
awk -v b="$(stat -c %s "$DIR/all.snapshot")" -v n="$LINKS" \
  'BEGIN { printf "size                         %9.1f bytes a link\n", b / n }'
started=$(date +%s.%N)
"$BINARY" catalog verify "$DIR/all.snapshot" > /dev/null
awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "verify                       %9.1f s\n", b - a }'

PORT=18380
ADMIN=18381
cat > "$DIR/clickedge.toml" <<TOML
[[listeners]]
address = "127.0.0.1:$PORT"
[catalog]
file = "all.snapshot"
state_dir = "state"
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

# Starts the edge, and waits until it answers.
start_edge() {
  local started
  started=$(date +%s.%N)
  "$BINARY" serve --config "$DIR/clickedge.toml" 2> "$DIR/log" &
  EDGE=$!
  until (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
    kill -0 "$EDGE" 2>/dev/null || { cat "$DIR/log" >&2; exit 1; }
    sleep 0.02
  done
  awk -v a="$started" -v b="$(date +%s.%N)" -v w="$1" 'BEGIN { printf "%-28s %9.2f s\n", w, b - a }'
}
start_edge 'first start, with the copy'
kill -TERM "$EDGE"
wait "$EDGE" || true
# As the edge has it: in huge pages, where the system has them.
"$BENCH" measure "$DIR/state/base.snapshot" "$LINKS"
start_edge 'start with the copy there'
awk '/^Rss(Anon|File)/ { printf "edge, %-22s %9.0f MB\n", $1, $2 / 1024 }' "/proc/$EDGE/status"
