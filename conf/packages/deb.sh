#!/usr/bin/env bash
# Makes the Debian packages of a binary, clickedge and clickedge-dbgsym, in target/dist. Prints the path of the first.
#
#   conf/packages/deb.sh BINARY [OPTION...]      options of cargo-deb, such as --fast
#
# DEBFULLNAME and DEBEMAIL are who maintains the package.
set -euo pipefail
binary=$(realpath "$1")
shift
cd "$(dirname "$0")/../.."
. conf/packages/common.sh
conf/packages/stage.sh "$binary"

revision=1
maintainer="${DEBFULLNAME:-clickedge maintainers} <${DEBEMAIL:-clickedge@example.com}>"
cat > target/package/changelog.Debian <<CHANGELOG
clickedge ($version-$revision) unstable; urgency=medium

  * Release $version, see changelog.gz.

 -- $maintainer  $(date -Rud "@$SOURCE_DATE_EPOCH")
CHANGELOG

mkdir -p target/dist
architecture=$(dpkg --print-architecture)
deb=target/dist/clickedge_$version-${revision}_$architecture.deb
cargo deb --quiet --no-build --no-strip --locked --deb-revision $revision --maintainer "$maintainer" --output "$deb" "$@" >/dev/null

# The symbols, as debhelper packs them.
id=$(cat target/package/debug/build-id)
root=target/package/dbgsym
mkdir -p "$root/DEBIAN" "$root/usr/lib/debug/.build-id/${id:0:2}" $root/usr/share/doc
cp target/package/debug/clickedge.debug "$root/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug"
ln -s clickedge $root/usr/share/doc/clickedge-dbgsym
cat > $root/DEBIAN/control <<CONTROL
Package: clickedge-dbgsym
Source: clickedge
Version: $version-$revision
Auto-Built-Package: debug-symbols
Architecture: $architecture
Maintainer: $maintainer
Depends: clickedge (= $version-$revision)
Section: debug
Priority: optional
Build-Ids: $id
Description: debug symbols for clickedge
CONTROL
find $root -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
compression=-Zxz
case " $* " in *' --fast '*) compression='-Zgzip -z1' ;; esac
# shellcheck disable=SC2086
dpkg-deb --build --root-owner-group $compression "$root" \
  "target/dist/clickedge-dbgsym_$version-${revision}_$architecture.deb" >/dev/null

echo "$deb"
