#!/usr/bin/env bash
# CPU time per redirect: clickedge next to nginx, HAProxy, Apache httpd, Caddy and H2O, as Debian packages them.
#
# Each answers the same 1,000 links with 302 and `Cache-Control` on one core, and writes a JSON line of each request to a
# file, through a buffer where it can. wrk runs on the other core, over keep-alive connections, with the request headers
# of a browser. The servers take turns; the output is the median of the rounds. As root it installs what is missing.
#
#   bench/peers.sh [ROUNDS] [SECONDS]      default 5 rounds of 8 seconds
#
# CPU time comes from the kernel: of all processes of a server; of clickedge also of the listener threads alone.
#
# How each finds a link: nginx, HAProxy and Apache in a map of theirs, Caddy by its `map`, which compares one after the
# other, H2O by a path in its configuration. nginx, Apache and H2O run under the user of their package or root.
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${1:-5}
SECONDS_EACH=${2:-8}
CONNECTIONS=32
LINKS=1000
# shellcheck source=bench/common.sh
. bench/common.sh

# Pairs of host with path and destination, one a line.
pairs() {
  awk -v n="$LINKS" 'BEGIN {
    for (i = 0; i < n; i++)
      printf "go%d.brand.com/tag-%06x https://www.example.com/landing/page-%d?utm_source=link&utm_campaign=c%d\n", i % 10, i, i, i % 50
  }'
}

start() {
  local name=$1 port=$2
  shift 2
  GOMAXPROCS=1 HOME="$DIR" taskset -c 0 "$@" >> "$DIR/$name.out" 2>> "$DIR/$name.err" &
  PIDS+=($!)
  NAMES+=("$name")
  SERVERS[$name]=$!
  PORTS[$name]=$port
}

haproxy_config() {
  pairs > "$DIR/haproxy.map"
  cat <<CONF
global
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout http-keep-alive 30s
frontend clicks
  bind 127.0.0.1:$1
  http-request set-var(txn.destination) base,map_str($DIR/haproxy.map)
  http-request capture req.hdr(Host) len 64
  http-request capture req.hdr(User-Agent) len 256
  http-request capture req.hdr(Referer) len 256
  http-request capture req.hdr(Accept-Language) len 64
  log-format '{"time":"%Ts","remote":"%ci","host":"%[capture.req.hdr(0),json]","uri":"%[capture.req.uri,json]","status":%ST,"destination":"%[var(txn.destination),json]","agent":"%[capture.req.hdr(1),json]","referer":"%[capture.req.hdr(2),json]","language":"%[capture.req.hdr(3),json]"}'
  http-after-response set-header Cache-Control "private, no-store"
  http-request return status 404 unless { var(txn.destination) -m found }
  http-request redirect location %[var(txn.destination)] code 302
CONF
}

apache_config() {
  pairs > "$DIR/apache.map"
  for module in mpm_event authz_core rewrite headers; do
    echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
  done
  cat <<CONF
ServerName localhost
ServerRoot $DIR
PidFile $DIR/apache.pid
User www-data
Group www-data
Listen 127.0.0.1:$1
ErrorLog $DIR/apache.log
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 30
ServerTokens Prod
Header always set Cache-Control "private, no-store"
BufferedLogs On
LogFormat '{"time":"%{%FT%T%z}t","remote":"%a","host":"%{Host}i","uri":"%U","args":"%q","status":%>s,"destination":"%{Location}o","referer":"%{Referer}i","agent":"%{User-Agent}i","language":"%{Accept-Language}i"}' click
CustomLog $DIR/apache-access.log click
RewriteEngine On
RewriteMap destination txt:$DIR/apache.map
RewriteCond \${destination:%{HTTP_HOST}%{REQUEST_URI}} ^(.+)$
RewriteRule ^ %1 [R=302,L,NE,UnsafeAllow3F]
CONF
}

caddy_config() {
  cat <<CONF
{
  admin off
  auto_https off
}
http://:$1 {
  bind 127.0.0.1
  log {
    output file $DIR/caddy-access.log
    format json
  }
  map {http.request.host}{http.request.uri.path} {destination} {
$(pairs | sed 's/^/    /')
    default /none
  }
  header Cache-Control "private, no-store"
  redir {destination} 302
}
CONF
}

h2o_config() {
  cat <<CONF
user: root
num-threads: 1
pid-file: $DIR/h2o.pid
error-log: $DIR/h2o.log
http1-request-timeout: 30
access-log:
  path: $DIR/h2o-access.log
  escape: json
  format: '{"time":"%{%FT%TZ}t","remote":"%h","host":"%{Host}i","uri":"%U","args":"%q","status":%s,"destination":"%{Location}o","referer":"%{Referer}i","agent":"%{User-Agent}i","language":"%{Accept-Language}i"}'
header.set: "Cache-Control: private, no-store"
hosts:
CONF
  for host in $(seq 0 9); do
    printf '  "go%s.brand.com":\n    listen:\n      host: 127.0.0.1\n      port: %s\n    paths:\n' "$host" "$1"
    pairs | awk -v host="go$host.brand.com" 'index($1, host "/") == 1 {
      printf "      \"%s\":\n        redirect:\n          status: 302\n          url: \"%s\"\n", substr($1, length(host) + 1), $2
    }'
  done
}

# User and system ticks of a process and its children.
tree_ticks() {
  local pid sum=0
  for pid in "$1" $(pgrep -P "$1"); do sum=$((sum + $(ticks "$pid"))); done
  echo "$sum"
}

need curl:curl wrk:wrk nginx:nginx-light haproxy:haproxy apache2:apache2 caddy:caddy h2o:h2o
build
links
wrk_script
# Apache reads its map as another user.
chmod 711 "$DIR"

declare -A SERVERS PORTS
NAMES=()
NGINX_PORT=$(free_port 18080)
start_nginx "$(nginx_server "$NGINX_PORT" "$DIR/nginx-access.log click buffer=64k flush=1s")"
NAMES+=(nginx)
SERVERS[nginx]=$NGINX
PORTS[nginx]=$NGINX_PORT
port=$(free_port 18480); haproxy_config "$port" > "$DIR/haproxy.cfg"; start haproxy "$port" haproxy -db -f "$DIR/haproxy.cfg"
port=$(free_port 18580); apache_config "$port" > "$DIR/apache.conf"; start apache "$port" apache2 -DFOREGROUND -f "$DIR/apache.conf"
port=$(free_port 18680); caddy_config "$port" > "$DIR/Caddyfile"; start caddy "$port" caddy run --adapter caddyfile --config "$DIR/Caddyfile"
port=$(free_port 18780); h2o_config "$port" > "$DIR/h2o.conf"; start h2o "$port" h2o -c "$DIR/h2o.conf"
start_clickedge
for name in "${NAMES[@]}"; do wait_for "${PORTS[$name]}"; done
wait_for "$EDGE_PORT"
wait_for "$ADMIN_PORT"
sleep 1

# A first round for each, to warm up; it also proves that all answer with redirects only.
for name in "${NAMES[@]}"; do
  curl -sD- -o /dev/null -H "Host: go7.brand.com" "http://127.0.0.1:${PORTS[$name]}/tag-000007" > "$DIR/answer"
  grep -qi '^location: https://www.example.com/landing/page-7?utm_source=link&utm_campaign=c7' "$DIR/answer" &&
    grep -qi '^cache-control: private, no-store' "$DIR/answer" || { echo "$name:" >&2; cat "$DIR/answer" >&2; exit 1; }
  load "http://127.0.0.1:${PORTS[$name]}/" >/dev/null
done
load "http://127.0.0.1:$EDGE_PORT/" >/dev/null
settle

for round in $(seq "$ROUNDS"); do
  line="round $round:"
  for name in "${NAMES[@]}"; do
    before=$(tree_ticks "${SERVERS[$name]}")
    n=$(load "http://127.0.0.1:${PORTS[$name]}/")
    us=$(per_request $(($(tree_ticks "${SERVERS[$name]}") - before)) "$n")
    echo "$us" >> "$DIR/$name.us"
    line="$line $name $us,"
  done
  front=$(ticks "$EDGE" '^clicks'); all=$(ticks "$EDGE")
  n=$(load "http://127.0.0.1:$EDGE_PORT/")
  settle
  front=$(per_request $(($(ticks "$EDGE" '^clicks') - front)) "$n")
  all=$(per_request $(($(ticks "$EDGE") - all)) "$n")
  echo "$front" >> "$DIR/front.us"; echo "$all" >> "$DIR/all.us"
  echo "$line clickedge $front, delivered $all us"
done

base=$(median < "$DIR/nginx.us")
row() {
  awk -v name="$1" -v us="$(median < "$DIR/$2.us")" -v base="$base" 'BEGIN { printf "%-44s %8.2f %8.2f\n", name, us, us / base }'
}
printf '\n%-44s %8s %8s\n' 'CPU per request, median' 'us' 'ratio'
for name in "${NAMES[@]}"; do row "$name: JSON log" "$name"; done
row 'clickedge: redirect, click captured' front
row 'clickedge: click delivered, gzipped object' all
