"""A real Kubernetes API for the tests: etcd, kube-apiserver and kube-controller-manager on 127.0.0.1.

The programs are those of the folder `KUBEBUILDER_ASSETS`, of whatever version. No scheduler and no kubelet
runs (`tests.rig.cluster.kubelet` is both), and nothing carries traffic to services.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from kubernetes import client, config

from tests.rig.cluster import servers
from tests.rig.cluster.certificates import write_certificates
from tests.rig.cluster.egress import Egress, selector
from tests.rig.cluster.programs import Programs

IDENTITIES = {
    "admin": "system:masters",
    "limited": "davy-test",
    "viewer": "davy-view",
    "other": "davy-other",
}
"""Users and the group of each; but for the admin, they may do only what a test allows them."""
READY_WITHIN = 90
"""Seconds that the API server may take to start on a busy machine."""
_PORTS = range(31_000, 32_700)
"""Above the ports of other parts of the rig, below those that the system gives to clients."""
_API = "kube-apiserver"


class Cluster:
    """A Kubernetes API that tests may use as its admin.

    Attributes:
        kubeconfig: The admin's.
        api: The admin's client.
        version: Of the API server: major, minor, patch.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.api = connect(kubeconfig)
        said = client.VersionApi(self.api).get_code().git_version
        self.version = servers.parse_version(said)

    def serves(self, group_version: str) -> bool:
        """Whether the server has this version of an API group, as ``discovery.k8s.io/v1``."""
        groups = client.ApisApi(self.api).get_api_versions().groups
        return any(group_version == version.group_version for group in groups for version in group.versions)

    def close(self) -> None:
        """Close the admin's connections."""
        self.api.close()


class ControlPlane(Cluster):
    """One of the tests' own, which may also be hurt."""

    def __init__(self, places: servers.Places, programs: Programs) -> None:
        self._places, self._programs = places, programs
        super().__init__(self.identity("admin"))

    @property
    def folder(self) -> Path:
        """Where its logs are, among other things."""
        return self._places.folder

    def identity(self, name: str, namespace: str | None = None) -> Path:
        """The kubeconfig of one of `IDENTITIES`."""
        assert name in IDENTITIES, f"identity {name}: expected one of {', '.join(IDENTITIES)}"
        file = self.folder / f"{name}{f'-{namespace}' if namespace else ''}.kubeconfig"
        return kubeconfig(file, self._places, _token(name), namespace)

    def service_account(self, name: str, namespace: str) -> Path:
        """The kubeconfig of a service account, with a token for an hour; it may do what roles allow it."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = client.CoreV1Api(self.api).create_namespaced_service_account_token(name, namespace, body)
        file = self.folder / f"{namespace}-{name}.kubeconfig"
        return kubeconfig(file, self._places, made.status.token, namespace)

    def freeze(self) -> None:
        """The API server answers nothing, and keeps its connections open."""
        self._programs.send(_API, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._programs.send(_API, signal.SIGCONT)

    def kill(self) -> None:
        """The API server is gone: connections are refused."""
        self._programs.send(_API, signal.SIGKILL)

    def restart(self) -> None:
        """The API server is killed, if it lives, and started anew with the same data; returns once ready."""
        self.kill()
        self._programs.start(_API, servers.api_server(self._places))
        _await_ready(self._places, self._programs)


@contextmanager
def running(assets: Path) -> Iterator[ControlPlane]:
    """A control plane, ready; at the end nothing of it is left.

    Args:
        assets: The folder of the three programs.
    """
    missing = [name for name in servers.NAMES if not os.access(assets / name, os.X_OK)]
    assert not missing, f"KUBEBUILDER_ASSETS: found no {', '.join(missing)} in {assets}"
    with tempfile.TemporaryDirectory(prefix="davy-rig-", ignore_cleanup_errors=True) as named:
        places = servers.Places(assets, Path(named), *free_ports(3))
        admin = _prepare(places)
        with Programs(places.folder) as programs, Egress(places.folder / "egress"):
            programs.start("etcd", servers.etcd(places))
            programs.start(_API, servers.api_server(places))
            _await_ready(places, programs)
            controllers = servers.controller_manager(places, servers.version_of(assets), admin)
            programs.start("kube-controller-manager", controllers)
            plane = ControlPlane(places, programs)
            try:
                yield plane
            finally:
                plane.close()


def kubeconfig(path: Path, places: servers.Places, token: str, namespace: str | None = None) -> Path:
    """Write a kubeconfig for whoever has *token*; it needs no other file.

    Args:
        namespace: The one that is meant where none is named.
    """
    authority = base64.b64encode((places.folder / "ca.crt").read_bytes()).decode()
    context = {"cluster": "rig", "user": "rig"} | ({"namespace": namespace} if namespace else {})
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rig",
        "clusters": [
            {"name": "rig", "cluster": {"server": places.server, "certificate-authority-data": authority}}
        ],
        "users": [{"name": "rig", "user": {"token": token}}],
        "contexts": [{"name": "rig", "context": context}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path


def connect(kubeconfig: Path) -> client.ApiClient:
    """A client with the rights of *kubeconfig*; whoever asks for it closes it."""
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    configuration.proxy = None
    return client.ApiClient(configuration)


def free_ports(count: int) -> Iterator[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
        count -= 1
        if not count:
            return


def _prepare(places: servers.Places) -> Path:
    """Write what the servers read at their start; the admin's kubeconfig."""
    write_certificates(places.folder)
    tokens = [f"{_token(name)},{name},{name},{group}\n" for name, group in IDENTITIES.items()]
    (places.folder / "tokens.csv").write_text("".join(tokens))
    (places.folder / "egress.json").write_text(selector(places.folder / "egress"))
    return kubeconfig(places.folder / "admin.kubeconfig", places, _token("admin"))


def _await_ready(places: servers.Places, programs: Programs) -> None:
    trust = ssl.create_default_context(cafile=str(places.folder / "ca.crt"))
    headers = {"Authorization": f"Bearer {_token('admin')}"}
    deadline = time.monotonic() + READY_WITHIN
    with httpx.Client(verify=trust, headers=headers, trust_env=False, timeout=5) as asking:
        while not _is_ready(asking, places):
            programs.check()
            assert time.monotonic() < deadline, f"{_API}: not ready in {READY_WITHIN} s"
            time.sleep(0.05)


def _is_ready(asking: httpx.Client, places: servers.Places) -> bool:
    try:
        return asking.get(f"{places.server}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _token(name: str) -> str:
    return f"{name}-token"
