"""OCI images made by hand: layers out of entries, and the folder (image-layout) that umoci and skopeo read."""
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

TIME = 1700000000


def entry(name, type="file", data=b"", mode=None, uid=0, gid=0, target="", pax=None, mtime=TIME, device=(0, 0)):
    """One entry of a layer: its header and its content. name may be bytes that are not UTF-8."""
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE,
             "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name)
    info.type = kinds[type]
    info.mode = mode if mode is not None else 0o755 if type == "dir" else 0o644
    info.uid, info.gid, info.linkname, info.mtime = uid, gid, target, mtime
    info.devmajor, info.devminor = device
    info.size = len(data) if type == "file" else 0
    info.pax_headers = pax or {}
    return info, data


def whiteout(name):
    folder, _, last = name.rpartition("/")
    return entry(f"{folder}/.wh.{last}" if folder else f".wh.{last}")


def opaque(folder):
    return entry(f"{folder}/.wh..wh..opq")


def tar(entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """An image in folder/, whose layers are tars (bytes), bottom first."""

    def __init__(self, folder, layers, compressions=None):
        self.folder = pathlib.Path(folder)
        self.layers = []
        (self.folder / "blobs/sha256").mkdir(parents=True)
        for i, layer in enumerate(layers):
            self.add_layer(layer, compressions[i] if compressions else "gzip")
        self.finish()

    def blob(self, data):
        digest = sha256(data)
        (self.folder / "blobs/sha256" / digest[7:]).write_bytes(data)
        return digest

    def add_layer(self, layer, compression):
        blob = layer
        if compression == "gzip":
            blob = gzip.compress(layer, 1, mtime=0)
        elif compression == "zstd":
            blob = subprocess.run(["zstd", "-q", "-c"], input=layer, stdout=subprocess.PIPE, check=True).stdout
        self.layers.append({"compression": compression, "digest": self.blob(blob), "diff_id": sha256(layer), "size": len(blob)})

    def finish(self):
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "created": "2023-11-14T22:13:20Z",
                             "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in self.layers]}}).encode()
        suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.blob(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar" + suffix[layer["compression"]],
                        "digest": layer["digest"], "size": layer["size"]} for layer in self.layers]}).encode()
        self.digest = self.blob(manifest)
        (self.folder / "index.json").write_text(json.dumps({
            "schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest,
                                               "size": len(manifest), "annotations": {"org.opencontainers.image.ref.name": "t"}}]}))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def words(self):
        """The layers as oci_layers_tool takes them."""
        for layer in self.layers:
            yield from [str(self.folder / "blobs/sha256" / layer["digest"][7:]), layer["compression"], layer["digest"],
                        layer["diff_id"], str(layer["size"])]
