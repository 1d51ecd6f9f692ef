"""How etcd, kube-apiserver and kube-controller-manager are started, by their version."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager")
_LAST_INSECURE_PORT = (1, 23)
"""The last version whose kube-controller-manager has to be told not to serve without encryption."""
CONTROLLERS = (
    "deployment",
    "disruption",
    "endpoint",
    "endpointslice",
    "garbagecollector",
    "job",
    "namespace",
    "persistentvolume-binder",
    "replicaset",
    "resourcequota",
    "serviceaccount",
    "serviceaccount-token",
)
"""By their first names, which newer versions promise to keep beside the newer names."""

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Places:
    """Where one control plane's parts are.

    Attributes:
        folder: Of their data, certificates and logs.
    """

    assets: Path
    folder: Path
    etcd: int
    peers: int
    api: int

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.api}"


def version_of(assets: Path) -> Version:
    """The version of the API server in *assets*."""
    return parse_version(_ask(assets / "kube-apiserver", "--version"))


def parse_version(said: str) -> Version:
    """The version that a server states of itself."""
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", said)
    assert found, f"version of the API server: {said!r}, expected one as v1.20.2"
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def etcd(places: Places) -> Sequence[str]:
    """The command of etcd."""
    program = places.assets / "etcd"
    client, peers = (f"http://127.0.0.1:{port}" for port in (places.etcd, places.peers))
    known = "--unsafe-no-fsync" in _ask(program, "--help")  # not in etcd 3.4.0 to 3.4.8
    return [
        str(program),
        f"--data-dir={places.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        *(["--unsafe-no-fsync"] if known else []),
    ]


def api_server(places: Places) -> Sequence[str]:
    """The command of kube-apiserver.

    Quotas are enforced, as by default. Pods need no service account, and a node is fit for pods at once.
    """
    folder = places.folder
    return [
        str(places.assets / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{places.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={places.api}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={folder / 'server.crt'}",
        f"--tls-private-key-file={folder / 'server.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://localhost",
        "--api-audiences=https://localhost",
        f"--service-account-key-file={folder / 'tokens.key'}",
        f"--service-account-signing-key-file={folder / 'tokens.key'}",
        f"--egress-selector-config-file={folder / 'egress.json'}",
    ]


def controller_manager(places: Places, version: Version, kubeconfig: Path) -> Sequence[str]:
    """The command of kube-controller-manager; it serves nothing."""
    return [
        str(places.assets / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        *(["--port=0"] if version[:2] <= _LAST_INSECURE_PORT else []),
        "--leader-elect=false",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--service-account-private-key-file={places.folder / 'tokens.key'}",
        f"--root-ca-file={places.folder / 'ca.crt'}",
        "--kube-api-qps=500",
        "--kube-api-burst=500",
    ]


def _ask(program: Path, flag: str) -> str:
    said = subprocess.run([program, flag], capture_output=True, text=True, check=False, timeout=60)
    return said.stdout + said.stderr
