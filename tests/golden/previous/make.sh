#!/usr/bin/env bash
# Makes this fixture: what a release leaves when it is killed with clicks in its outbox, its journal and its rings.
#
#   make.sh BINARY    with the binary of the release to upgrade from; as root, for a small disk that can be filled
set -euo pipefail
binary=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
rings=$(mktemp -d /dev/shm/clickedge-XXXXXX)
port=18080 admin=18081
mkdir "$work/spool"
mount -t tmpfs -o size=64m tmpfs "$work/spool"
trap 'umount "$work/spool"; rm -r "$work" "$rings"' EXIT

cat >"$work/links.ndjson" <<'END'
{"id":"id-spring","slashtag":"spring","destination":"https://www.example.com/spring?utm_source=go","createdAt":"2026-03-01T09:30:00.000Z","domain":{"id":"d-1","fullName":"go.brand.com"},"creator":{"id":"u-1","fullName":"Ana Lima"},"workspace":{"id":"w-1","name":"Marketing"},"tags":[{"id":"t-1","name":"Print"}],"scripts":[{"id":"s-1","name":"Pixel","uri":"https://static.example.com/p.js"}],"forwardParameters":true}
{"id":"id-moved","slashtag":"moved","destination":"https://www.example.com/moved","createdAt":"2026-03-01T09:30:00.000Z","domain":{"id":"d-1","fullName":"go.brand.com"},"workspace":{"id":"w-2"},"httpStatus":301}
END
cat >"$work/clickedge.toml" <<END
[edge]
pop = "test"
threads = 2
[[listeners]]
address = "127.0.0.1:$port"
[catalog]
file = "links.ndjson"
[capture]
dir = "$rings"
ring_bytes = 1048576
[spool]
dir = "spool"
retain_secs = 0
journal_max_bytes = 16777216
[admin]
address = "127.0.0.1:$admin"
[[feeds]]
name = "all"
workspaces = ["*"]
max_age_secs = 4
hold_back_secs = 0
sink.dir.path = "bucket/all"
END
mkdir -p "$work/bucket/all"

"$binary" serve --config "$work/clickedge.toml" >"$work/log" 2>&1 &
edge=$!
until curl -sf "127.0.0.1:$admin/readyz" >/dev/null; do sleep 0.05; done
# From now on the sink is unavailable: a file is in the place of its folder, which `serve` would reject.
rm -r "$work/bucket/all"
touch "$work/bucket/all"

metric() { curl -s "127.0.0.1:$admin/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
click() { # path and query, then options of curl
  curl -s -o "$work/body" -w "%{http_code} $1\n" -H 'Host: go.brand.com' "${@:2}" "http://127.0.0.1:$port$1" >>"$work/clicks.txt"
}
chrome='Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36'
iphone='Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5.1 Mobile/15E148 Safari/604.1'
# Clicks of every kind; the argument is the number of the first.
clicks() {
  click "/spring?n=$1" -A "$chrome" -H 'Accept-Language: en-GB,en;q=0.9'
  click "/spring?n=$(($1 + 1))&utm_term=poster&b=%20x" -A "$iphone" -H 'Accept-Language: pt-BR' -e 'https://www.google.com/'
  click "/moved?n=$(($1 + 2))" -A "$chrome" -e 'https://l.facebook.com/l.php?u=x'
  click "/spring?n=$(($1 + 3))" -A "$chrome" -I
  click "/spring?n=$(($1 + 4))" -A "$chrome" -H 'Sec-GPC: 1'
  click "/spring?n=$(($1 + 5))" -A "$chrome" -0
  click "/spring?n=$(($1 + 6))"
}

clicks 1
until [ -n "$(find "$work/spool/outbox" -name '*.gz' | head -n 1)" ]; do sleep 0.05; done
clicks 8
until [ "$(metric clickedge_clicks_journaled_total)" = 14 ]; do sleep 0.05; done
sleep 0.3
cat /dev/zero >"$work/spool/ballast" 2>/dev/null || true
clicks 15
sleep 0.5
[ "$(metric clickedge_clicks_answered_total)" = 21 ] && [ "$(metric clickedge_clicks_journaled_total)" = 14 ]
kill -KILL $edge
wait $edge || true
rm "$work/spool/ballast"

mkdir "$work/left"
cp -a "$rings" "$work/left/rings"
cp -a "$work/spool" "$work/left/spool"
tar --sparse -C "$work/left" --sort=name --owner=0 --group=0 --numeric-owner -cf - rings spool | zstd -q -19 >"$here/left.tar.zst"
grep -o '^[0-9]* .*' "$work/clicks.txt" >"$here/clicks.txt"

# What the same release makes of it.
rm "$work/bucket/all"
"$binary" serve --config "$work/clickedge.toml" >>"$work/log" 2>&1 &
edge=$!
until curl -sf "127.0.0.1:$admin/readyz" >/dev/null; do sleep 0.05; done
until [ "$(metric 'clickedge_events_delivered_total{feed="all"}')" = 21 ]; do sleep 0.05; done
kill $edge
wait $edge
find "$work/bucket/all" -name '*.gz' -exec zcat {} + | sort >"$here/events.ndjson"
