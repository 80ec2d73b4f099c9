#!/usr/bin/env bash
# Makes an OCI image of a binary, in target/dist.
#
#   conf/packages/image.sh BINARY
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/../.."
. conf/packages/common.sh
conf/packages/stage.sh "$binary"
REVISION=$(git rev-parse HEAD 2>/dev/null || true) conf/packages/image.py "$version" "$(dpkg --print-architecture)"
