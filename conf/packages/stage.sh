#!/usr/bin/env bash
# Prepares what the packages have in common, in target/package: the binary without symbols, the symbols, and all that
# the binary generates about itself. Prints nothing. The same binary and commit give the same bytes.
#
#   conf/packages/stage.sh BINARY
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/../.."
out=target/package
rm -rf "$out"
mkdir -p $out/{bin,debug,man,completions,etc,examples}

objcopy --only-keep-debug "$binary" $out/debug/clickedge.debug
strip --strip-unneeded --remove-section=.comment --remove-section=.note -o $out/bin/clickedge "$binary"
# Backtraces find the symbols by the identity of the build, where the package of the symbols is installed.
readelf -n "$binary" | awk '/Build ID/ { print $3 }' > $out/debug/build-id

"$binary" generate man --dir $out/man
"$binary" generate completions bash > $out/completions/clickedge
"$binary" generate completions zsh > $out/completions/_clickedge
"$binary" generate completions fish > $out/completions/clickedge.fish
for profile in edge demo kubernetes; do
  "$binary" generate config --profile $profile > $out/etc/$profile.toml
done
"$binary" generate links > $out/etc/links.ndjson
# What surrounds an edge: manifests of pods, dashboards, alerts.
cp conf/clickedge.toml $out/etc/*.toml $out/examples/
for folder in kubernetes grafana prometheus; do
  if [ -d conf/$folder ]; then cp -r conf/$folder $out/examples/; fi
done
conf/packages/licences.py | gzip -9n > $out/THIRD-PARTY.gz
