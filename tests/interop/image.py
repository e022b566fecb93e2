#!/usr/bin/env python3
"""Writes a small OCI image layout, so that no test needs an image from the network.

    image.py DIR TAG [--nonce TEXT] [--platforms linux/amd64,linux/arm64] [--megabytes N]

DIR may exist already: the tag is added to it. Every platform gets one layer with a few
files (/etc/nonce holds TEXT, /etc/tag the tag) and, with --megabytes, one more layer of
random bytes that all platforms share. More than one platform makes an image index.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import tarfile

OCI = "application/vnd.oci.image."


class Layout:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.blobs = self.root / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(self, media_type, data):
        if not isinstance(data, bytes):
            data = json.dumps(data, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def tag(self, descriptor, name):
        path = self.root / "index.json"
        index = json.loads(path.read_text()) if path.exists() else {"schemaVersion": 2, "manifests": []}
        index["manifests"].append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": name}})
        path.write_text(json.dumps(index))


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def layer(layout, files):
    """Returns the layer's descriptor, and the digest of the uncompressed tar for the config."""
    data = tar(files)
    blob = layout.put(OCI + "layer.v1.tar+gzip", gzip.compress(data, compresslevel=1, mtime=0))
    return blob, "sha256:" + hashlib.sha256(data).hexdigest()


def image(layout, platform, tag, nonce, shared):
    system, architecture = platform.split("/")
    small = layer(layout, {
        "bin/hello": b"#!/bin/sh\necho hello\n",
        "etc/nonce": nonce.encode(),
        "etc/tag": tag.encode(),
        "etc/platform": platform.encode(),
    })
    layers = [small] + shared
    config = layout.put(OCI + "config.v1+json", {
        "created": "2024-01-01T00:00:00Z",
        "os": system,
        "architecture": architecture,
        "config": {"Cmd": ["/bin/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "image.py"} for _ in layers],
    })
    manifest = layout.put(OCI + "manifest.v1+json", {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": config,
        "layers": [descriptor for descriptor, _ in layers],
    })
    return manifest | {"platform": {"os": system, "architecture": architecture}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("tag")
    parser.add_argument("--nonce", default="")
    parser.add_argument("--platforms", default="linux/amd64")
    parser.add_argument("--megabytes", type=int, default=0)
    args = parser.parse_args()

    layout = Layout(args.dir)
    shared = []
    if args.megabytes:
        shared = [layer(layout, {"data/random": os.urandom(args.megabytes << 20)})]
    images = [image(layout, platform, args.tag, args.nonce, shared) for platform in args.platforms.split(",")]
    if len(images) == 1:
        images[0].pop("platform")
        layout.tag(images[0], args.tag)
    else:
        media_type = OCI + "index.v1+json"
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": images}
        layout.tag(layout.put(media_type, index), args.tag)


main()
