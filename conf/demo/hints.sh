#!/bin/sh
# Prints what to try once the demo runs. BINARY is the path of clickedge.
cat <<HINTS

clickedge demo: http://127.0.0.1:8080, links in conf/demo/links.ndjson. In another terminal, in this folder:

  1. click a link, and see the redirect (302):
       curl -si -H 'Host: go.brand.com' 'http://127.0.0.1:8080/spring?utm_term=poster'

  2. within 5 seconds the click is in an object of the feed:
       find target/demo/bucket -name '*.gz'

  3. look at the events:
       find target/demo/bucket -name '*.gz' -exec zcat {} + | python3 -m json.tool --json-lines

  4. list what waits in the spool, and what was delivered and is kept:
       ${BINARY:-target/debug/clickedge} spool ls --config conf/demo.toml

  5. verify that the feed is complete and has no duplicates:
       ${BINARY:-target/debug/clickedge} feed verify target/demo/bucket

  6. read the metrics, among them the account of clicks and events:
       curl -s http://127.0.0.1:9180/metrics | grep -E 'clicks|events'

Ctrl-C stops it; no click is lost.

HINTS
