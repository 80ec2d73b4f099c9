#!/bin/sh
# The compiler without the paths of this machine in what it makes: cargo calls it as RUSTC_WRAPPER. In RUSTFLAGS they
# would be part of hashes, which names of files and symbols contain.
rustc=$1
shift
exec "$rustc" "$@" --remap-path-prefix="$CLICKEDGE_ROOT=/clickedge" --remap-path-prefix="$CLICKEDGE_CARGO=/cargo"
