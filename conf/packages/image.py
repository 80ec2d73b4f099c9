#!/usr/bin/env python3
"""Makes an OCI image of target/package, in target/dist, without privileges, a daemon or a registry.

    conf/packages/image.py VERSION ARCHITECTURE

The image has one layer: the binary, the libraries that it is linked to, the certificates of public authorities, a
configuration, and a user. It has no shell and no package manager. What comes from Debian packages is listed in
var/lib/dpkg/status.d, where scanners of images look. The same binary, packages and SOURCE_DATE_EPOCH give the same
bytes. `podman load`, `docker load` and `skopeo copy oci-archive:` read the result.
"""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time

# The user of the image: a number that no system gives to a person. Volumes belong to it.
USER = 65532
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
TITLE = "clickedge"
DESCRIPTION = "Edge redirector for branded links: every click becomes an event in the customer's own bucket"


def main():
    version, architecture = sys.argv[1:]
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    layer = tar(epoch, root())
    blobs = {}
    image = build(layer, epoch, version, architecture, blobs)
    out = f"target/dist/{TITLE}_{version}_{architecture}.oci.tar"
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "wb") as file:
        file.write(tar(epoch, layout(image, version, blobs)))
    print(out)


def root():
    """The files of the image: path, content or `None` for a folder, mode, owner."""
    libraries = linked("target/package/bin/clickedge")
    packages = {}
    for path in [*libraries, AUTHORITIES]:
        name = package_of(path)
        packages[name] = status(name)
    entries = [
        ("usr/bin/clickedge", read("target/package/bin/clickedge"), 0o755, 0),
        ("etc/clickedge/clickedge.toml", read("target/package/etc/kubernetes.toml"), 0o644, 0),
        ("etc/clickedge/links.ndjson", read("target/package/etc/links.ndjson"), 0o644, 0),
        (AUTHORITIES[1:], read(AUTHORITIES), 0o644, 0),
        ("etc/passwd", f"root:x:0:0:root:/:/\nclickedge:x:{USER}:{USER}::/var/lib/clickedge:/\n".encode(), 0o644, 0),
        ("etc/group", f"root:x:0:\nclickedge:x:{USER}:\n".encode(), 0o644, 0),
        # Names are looked up in the file of hosts, then asked of name servers: both are part of glibc.
        ("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n", 0o644, 0),
        ("usr/share/doc/clickedge/copyright", read("conf/debian/copyright"), 0o644, 0),
        ("usr/share/doc/clickedge/THIRD-PARTY.gz", read("target/package/THIRD-PARTY.gz"), 0o644, 0),
        # Where the volumes are mounted. A new volume gets this owner.
        ("var/lib/clickedge", None, 0o700, USER),
        # A tmpfs belongs to root, and runc gives it the mode of this folder. The rings are in a private one below it.
        ("run/clickedge", None, 0o1777, USER),
        ("tmp", None, 0o1777, 0),
    ]
    entries += [(path[1:], read(path), 0o755, 0) for path in libraries]
    for name, text in packages.items():
        entries.append((f"var/lib/dpkg/status.d/{name}", text.encode(), 0o644, 0))
        entries.append((f"usr/share/doc/{name}/copyright", read(f"/usr/share/doc/{name}/copyright"), 0o644, 0))
    known = {entry[0] for entry in entries}
    folders = {parent for entry in entries for parent in parents(entry[0])} - known
    return sorted(entries + [(folder, None, 0o755, 0) for folder in folders])


def linked(binary):
    """The shared libraries of a binary, and the loader, by the paths that the loader looks at."""
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(?:=> |^\s*)(/\S+) \(", listed, re.M)))


def package_of(path):
    # A library may be recorded below / or below /usr, of which one is a link.
    for name in (path, "/usr" + path, os.path.realpath(path), AUTHORITIES if path == AUTHORITIES else path):
        found = subprocess.run(["dpkg-query", "--search", name], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(":")[0]
    if path == AUTHORITIES:
        # Made when the package is configured.
        return "ca-certificates"
    sys.exit(f"{path} belongs to no Debian package: its licence is unknown")


def status(package):
    query = ["dpkg-query", "--status", package]
    text = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    # The files of the configuration are not part of the image.
    return re.sub(r"^Conffiles:\n( .*\n)*", "", text, flags=re.M)


def parents(path):
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


def build(layer, epoch, version, architecture, blobs):
    """Adds layer, configuration and manifest to the blobs. Descriptor of the manifest."""
    compressed = gzip.compress(layer, 9, mtime=0)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    labels = {
        "org.opencontainers.image.title": TITLE,
        "org.opencontainers.image.description": DESCRIPTION,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    revision = os.environ.get("REVISION")
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    configuration = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/clickedge"],
            "Cmd": ["serve"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "ExposedPorts": {"8080/tcp": {}, "9180/tcp": {}},
            "Volumes": {"/var/lib/clickedge": {}},
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": created, "created_by": "conf/packages/image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add(blobs, "application/vnd.oci.image.config.v1+json", as_json(configuration)),
        "layers": [add(blobs, "application/vnd.oci.image.layer.v1.tar+gzip", compressed)],
        "annotations": labels,
    }
    return add(blobs, "application/vnd.oci.image.manifest.v1+json", as_json(manifest))


def layout(image, version, blobs):
    names = {"org.opencontainers.image.ref.name": version, "io.containerd.image.name": f"localhost/{TITLE}:{version}"}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**image, "annotations": names}],
    }
    entries = [
        ("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}), 0o644, 0),
        ("index.json", as_json(index), 0o644, 0),
        ("blobs", None, 0o755, 0),
        ("blobs/sha256", None, 0o755, 0),
    ]
    return entries + [(f"blobs/sha256/{name}", blobs[name], 0o644, 0) for name in sorted(blobs)]


def add(blobs, kind, content):
    blobs[digest(content).removeprefix("sha256:")] = content
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def as_json(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def tar(epoch, entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content, mode, owner in entries:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, owner, owner, epoch
            if content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    main()
