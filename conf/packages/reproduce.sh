#!/usr/bin/env bash
# Builds what is published twice, from clones in two folders of different names, and compares: two builds, same bytes.
# Takes twice the time of a release build.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Of one commit, whatever is committed while they are built.
for folder in one another/deeper; do git clone --quiet . "$work/$folder"; done
for folder in one another/deeper; do
  (cd "$work/$folder" && conf/packages/dist.sh)
  cp "$work/$folder/target/dist/SHA256SUMS" "$work/${folder%%/*}.sums"
  # Two builds at once would fill the disk.
  cp -r "$work/$folder/target/dist" "$work/${folder%%/*}.dist" && rm -rf "${work:?}/$folder/target"
done
diff "$work/one.sums" "$work/another.sums"
echo "two builds, same bytes:"
cat "$work/one.sums"
