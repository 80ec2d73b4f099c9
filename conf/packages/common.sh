# For the scripts of this folder, which source it in the root of the project.

# The version of Cargo.toml, and the time of the commit: what is made has that time, so that it is the same each time.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || {
    echo "this is no git repository: set SOURCE_DATE_EPOCH to the time of the release, in seconds since 1970" >&2
    exit 1
  }
fi
export SOURCE_DATE_EPOCH
# Of files that are made: open to read, whatever the umask of the shell.
umask 022
export LC_ALL=C

# A deterministic archive of a folder, in the folder's parent: `pack FOLDER OUT.tar.gz`.
pack() {
  tar --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -C "$(dirname "$1")" -cf - "$(basename "$1")" | gzip -9n > "$2"
}
