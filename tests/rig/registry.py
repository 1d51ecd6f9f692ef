"""A real image registry (Debian's docker-registry), and small images pushed into it by plain HTTP."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

PROGRAM = "docker-registry"
HOW = (
    f"{PROGRAM}: found none on PATH, expected Debian's package of that name; without installing it: "
    f"apt-get download {PROGRAM} && dpkg -x {PROGRAM}_*.deb DIR, and DIR/usr/bin on PATH"
)
USER, PASSWORD = "davy", "lamp-and-canary"
HTPASSWD = f"{USER}:$2b$05$SvIUFOWK/GpTKNDPOqY1S.Vian5qkwljklh2/xssihtwZW33HM8om\n"
"""The same password, as bcrypt has it."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Pushed:
    """A registry to push into."""

    def __init__(self, host: str, auth: tuple[str, str] | None) -> None:
        self.host = host
        self._http = httpx.Client(base_url=f"http://{host}/v2/", timeout=10, auth=auth)

    def image(self, name: str, tag: str, created: str = "2026-01-01T00:00:00Z") -> str:
        """Push an image without layers; gives its digest."""
        config = json.dumps({"created": created, "architecture": "amd64", "os": "linux", "rootfs": {}})
        described = {"mediaType": CONFIG, "size": len(config), "digest": self._blob(name, config.encode())}
        return self._manifest(
            name, tag, {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
        )

    def index(self, name: str, tag: str, digests: Mapping[str, str]) -> str:
        """Push an index of images, by operating system; gives its digest."""
        manifests = [
            {
                "mediaType": MANIFEST,
                "size": 1,
                "digest": digest,
                "platform": {"os": os, "architecture": "amd64"},
            }
            for os, digest in digests.items()
        ]
        return self._manifest(name, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})

    def close(self) -> None:
        """Let go of its connections."""
        self._http.close()

    def _blob(self, name: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self._http.post(f"{name}/blobs/uploads/").raise_for_status()
        where = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        self._http.put(where, content=content).raise_for_status()
        return digest

    def _manifest(self, name: str, tag: str, manifest: dict[str, object]) -> str:
        answer = self._http.put(
            f"{name}/manifests/{tag}",
            content=json.dumps(manifest),
            headers={"Content-Type": str(manifest["mediaType"])},
        )
        return str(answer.raise_for_status().headers["Docker-Content-Digest"])


@contextmanager
def real_registry(folder: Path, port: int, *, protected: bool = False) -> Iterator[Pushed]:
    """One with its images in *folder*; *protected* by `USER` and `PASSWORD`."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(HOW)
    content = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if protected:
        (folder / "htpasswd").write_text(HTPASSWD)
        content["auth"] = {"htpasswd": {"realm": "davy", "path": str(folder / "htpasswd")}}
    (folder / "registry.yml").write_text(yaml.safe_dump(content))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
    pushed = Pushed(f"127.0.0.1:{port}", (USER, PASSWORD) if protected else None)
    try:
        _await(pushed.host, process, folder / "registry.log")
        yield pushed
    finally:
        pushed.close()
        process.kill()
        process.wait()


def _await(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if httpx.get(f"http://{host}/v2/", timeout=1).status_code in (200, 401):
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])
