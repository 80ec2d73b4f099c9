#!/bin/sh
# What to try once the demo runs. BINARY is the one that runs it.
cat <<HINTS

clickedge demo: http://127.0.0.1:8080, links in conf/demo/links.ndjson. In another terminal, from this folder:

  1. click a link, and see the redirect (302):
       curl -si -H 'Host: go.brand.com' 'http://127.0.0.1:8080/spring?utm_term=poster'

  2. within 5 seconds the click lies in an object of the feed:
       find target/demo/bucket -name '*.gz'

  3. look at the events:
       find target/demo/bucket -name '*.gz' -exec zcat {} + | python3 -m json.tool --json-lines

  4. what waits in the spool, and what was delivered and is kept:
       ${BINARY:-target/debug/clickedge} spool ls --config conf/demo.toml

  5. prove that the feed is complete, and holds no event twice:
       ${BINARY:-target/debug/clickedge} feed verify target/demo/bucket

  6. the account, and everything else that is counted:
       curl -s http://127.0.0.1:9180/metrics | grep -E 'clicks|events'

Ctrl-C stops it; nothing that was clicked is lost.

HINTS
