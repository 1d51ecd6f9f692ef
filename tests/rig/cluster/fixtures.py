"""What a conftest imports to give its tests a Kubernetes API.

One control plane serves the whole run, however many conftests import these.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from tests.rig.cluster.control_plane import Cluster, ControlPlane, running
from tests.rig.cluster.crds import crds_folder, install_crds
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.kubelet_images import Image
from tests.rig.stack import ROOT

HOW = (
    "needs a Kubernetes control plane: "
    'export KUBEBUILDER_ASSETS="$(../shared/kubernetes/control-plane-build)", '
    "or the folder of any envtest assets with kube-controller-manager beside them"
)
Part = TypeVar("Part")
_parts: pytest.StashKey[dict[str, object]] = pytest.StashKey()


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> ControlPlane:
    """A control plane of the tests' own."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        pytest.skip(HOW)
    return once(pytestconfig, "control plane", lambda: running(Path(assets)))


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Cluster:
    """The tests' own control plane, or else the cluster on this machine that `KUBECONFIG` names."""
    if os.environ.get("KUBEBUILDER_ASSETS") or not os.environ.get("KUBECONFIG"):
        plane: ControlPlane = request.getfixturevalue("control_plane")
        return plane
    return once(pytestconfig, "borrowed cluster", _borrowed)


@pytest.fixture(scope="session")
def crds(cluster: Cluster, pytestconfig: pytest.Config) -> Sequence[str]:
    """The names of Istio's and Gateway API's definitions, which the cluster now has."""
    folder = crds_folder()

    @contextmanager
    def installed() -> Iterator[Sequence[str]]:
        yield install_crds(cluster, folder)

    return once(pytestconfig, "definitions", installed)


@pytest.fixture(scope="session")
def kubelet(
    control_plane: ControlPlane, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Kubelet:
    """A node for the pods of all namespaces, with two images under any tag: the demo ``shop``, and ``davy``."""
    images = {
        "shop": Image((sys.executable, str(ROOT / "infra" / "local" / "shop.py"))),
        "davy": davys_image(),
    }
    folder = tmp_path_factory.mktemp("kubelet")
    return once(pytestconfig, "kubelet", lambda: Kubelet(control_plane.kubeconfig, folder, images))


def davys_image() -> Image:
    """This Python environment, with the variables that the Dockerfile sets.

    `tini`, its entry point, is left out: the kubelet's signals go to the program itself.
    """
    told = (ROOT / "infra" / "kubernetes" / "Dockerfile").read_text()
    return Image(environment=dict(re.findall(r"^(?:ENV| ) +(\w+)=(\S+)", told, re.MULTILINE)))


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace; it begins to go when the test has ended."""
    with new_namespace(cluster) as name:
        yield name


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace; when it is left, what works in it begins to go.

    A control plane of the tests' own goes with all that it holds; deleting each namespace before would make most of
    its requests: a list and a deletion of every kind of object there is, several times over.
    """
    core = client.CoreV1Api(cluster.api)
    name = f"davy-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    with suppress(client.ApiException, HTTPError):
        if isinstance(cluster, ControlPlane):
            client.AppsV1Api(cluster.api).delete_collection_namespaced_deployment(name)
            core.delete_collection_namespaced_pod(name)
        else:
            core.delete_namespace(name)


def once(pytestconfig: pytest.Config, name: str, part: Callable[[], AbstractContextManager[Part]]) -> Part:
    """The part of that name, entered when it is first asked for, and left when the run ends."""
    parts = pytestconfig.stash.setdefault(_parts, {})
    if name not in parts:
        opened = part()
        parts[name] = opened.__enter__()
        pytestconfig.add_cleanup(lambda: opened.__exit__(None, None, None))
    found: Part = parts[name]  # type: ignore[assignment]
    return found


@contextmanager
def _borrowed() -> Iterator[Cluster]:
    """A cluster that somebody else runs; only one on this machine, so that no real one is taken for a test's."""
    configuration = client.Configuration()
    try:
        config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        pytest.skip(f"KUBECONFIG: {error}; {HOW}")
    host = urlsplit(configuration.host).hostname
    if host not in ("127.0.0.1", "::1", "localhost"):
        pytest.skip(f"KUBECONFIG: found a cluster at {host}, expected one on this machine; {HOW}")
    try:
        cluster = Cluster(Path(os.environ["KUBECONFIG"]))
    except (client.ApiException, HTTPError) as error:
        pytest.skip(f"KUBECONFIG: {host} does not answer: {error}; {HOW}")
    try:
        yield cluster
    finally:
        cluster.close()
