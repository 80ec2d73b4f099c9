#!/usr/bin/env bash
# Makes everything that is published of a version, in target/dist: tarball, Debian packages, OCI image, SBOM (CycloneDX)
# and checksums.
#
#   conf/packages/dist.sh            builds the binary; the same commit, tools and packages give the same bytes
#   conf/packages/dist.sh BINARY     packs one that exists
#
# `conf/packages/reproduce.sh` builds twice, in two folders, and compares.
set -euo pipefail
cd "$(dirname "$0")/../.."
. conf/packages/common.sh

rm -rf target/dist
mkdir -p target/dist
if [ $# -gt 0 ]; then
  binary=$(realpath "$1")
else
  # A target folder of its own: no file of another build is reused.
  export CLICKEDGE_ROOT=$PWD CLICKEDGE_CARGO=${CARGO_HOME:-$HOME/.cargo}
  # The compiler does not pass its option on to the assembler.
  CFLAGS=
  for map in "$CLICKEDGE_ROOT=/clickedge" "$CLICKEDGE_CARGO=/cargo"; do
    CFLAGS+=" -ffile-prefix-map=$map -Wa,--debug-prefix-map=$map"
  done
  export CFLAGS
  export CXXFLAGS=$CFLAGS RUSTC_WRAPPER=$PWD/conf/packages/rustc.sh CARGO_TARGET_DIR=$PWD/target/reproducible
  make --no-print-directory release
  unset CFLAGS CXXFLAGS RUSTC_WRAPPER CARGO_TARGET_DIR
  binary=$PWD/target/reproducible/release/clickedge
fi

lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$(conf/packages/deb.sh "$binary")"
conf/packages/image.sh "$binary"

name=clickedge-$version-$(uname -m)-linux
root=target/package/$name
mkdir -p "$root"/{bin,conf,man/man1,completions,systemd}
install -m 0755 target/package/bin/clickedge "$root/bin/"
install -m 0644 target/package/etc/links.ndjson conf/*.json "$root/conf/"
cp -r target/package/examples/. "$root/conf/"
install -m 0644 target/package/man/* "$root/man/man1/"
install -m 0644 target/package/completions/* "$root/completions/"
install -m 0644 systemd/* "$root/systemd/"
install -m 0644 README.md CHANGELOG.md LICENSE target/package/THIRD-PARTY.gz "$root/"
pack "$root" "target/dist/$name.tar.gz"

cargo cyclonedx --quiet --features full,jemalloc --format json --spec-version 1.5 \
  --target "$(uname -m)-unknown-linux-gnu" --no-build-deps --override-filename bom
# The identity of the package names the folder that it was built in.
sed -E 's|path\+file://[^"#]*#(clickedge@)?|path+file:///clickedge#|g' bom.json > "target/dist/clickedge-$version.cdx.json"
rm bom.json

(cd target/dist && sha256sum -- * > SHA256SUMS)
ls -l target/dist
