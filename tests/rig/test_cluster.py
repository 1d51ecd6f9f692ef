"""The rig's control plane is a real one, which tests can use with little right, hurt and restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.rig.cluster import servers
from tests.rig.cluster.addresses import Addresses, local_address
from tests.rig.cluster.control_plane import IDENTITIES, Cluster, ControlPlane, connect, running
from tests.rig.cluster.crds import simplify
from tests.rig.cluster.leftovers import processes_of
from tests.rig.stack import await_that

PODS = {"10.244.3.7": "127.244.3.7", "10.244.255.255": "127.244.255.255"}
ELSEWHERE = ["10.0.0.1", "10.245.0.1", "127.0.0.1", "192.0.2.1", "example.org"]
DEPLOYMENT = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "shop:1.0"}]},
        },
    },
}


class _Says(BaseHTTPRequestHandler):
    """Answers with the address that it was reached at."""

    def do_GET(self) -> None:
        text = f"{self.server.server_address[0]} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@contextmanager
def serving(host: str) -> Iterator[int]:
    """Something that answers on *host*; its port."""
    with ThreadingHTTPServer((host, 0), _Says) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def pod(cluster: Cluster, namespace: str) -> Callable[[str], str]:
    """Makes a pod that claims an address; its name."""

    def make(address: str) -> str:
        core = client.CoreV1Api(cluster.api)
        spec = {"nodeName": "nowhere", "containers": [{"name": "app", "image": "shop:1.0"}]}
        core.create_namespaced_pod(namespace, {"metadata": {"name": "web"}, "spec": spec})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        core.patch_namespaced_pod_status("web", namespace, {"status": status})
        return "web"

    return make


def test_its_version_is_that_of_the_program(control_plane: ControlPlane) -> None:
    said = client.VersionApi(control_plane.api).get_code()
    assert control_plane.version == servers.parse_version(said.git_version)
    assert control_plane.version >= (1, 20, 0)


def test_deployments_get_pods(cluster: Cluster, namespace: str) -> None:
    client.AppsV1Api(cluster.api).create_namespaced_deployment(namespace, DEPLOYMENT)
    core = client.CoreV1Api(cluster.api)
    await_that(lambda: len(core.list_namespaced_pod(namespace).items) == 2, within=60)


def test_a_deleted_deployment_takes_its_replica_sets_along(cluster: Cluster, namespace: str) -> None:
    apps = client.AppsV1Api(cluster.api)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT | {"spec": DEPLOYMENT["spec"] | {"replicas": 0}})
    await_that(lambda: apps.list_namespaced_replica_set(namespace).items, within=60)
    apps.delete_namespaced_deployment("web", namespace)
    await_that(lambda: not apps.list_namespaced_replica_set(namespace).items, within=60)


def test_what_goes_beyond_a_quota_is_refused_and_the_deployment_says_so(
    cluster: Cluster, namespace: str
) -> None:
    apps, core = client.AppsV1Api(cluster.api), client.CoreV1Api(cluster.api)
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
    core.create_namespaced_resource_quota(namespace, quota)
    await_that(lambda: core.read_namespaced_resource_quota("small", namespace).status.hard, within=60)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)

    def refusal() -> str:
        conditions = apps.read_namespaced_deployment("web", namespace).status.conditions or ()
        return "".join(each.message for each in conditions if each.type == "ReplicaFailure")

    assert "exceeded quota: small" in await_that(refusal, within=60)


@pytest.mark.parametrize("name", sorted(set(IDENTITIES) - {"admin"}))
def test_identities_other_than_the_admin_may_do_nothing(
    control_plane: ControlPlane, namespace: str, name: str
) -> None:
    with (
        connect(control_plane.identity(name, namespace)) as api,
        pytest.raises(client.ApiException) as refused,
    ):
        client.CoreV1Api(api).list_namespaced_pod(namespace)
    assert refused.value.status == 403
    assert f'User "{name}" cannot list resource "pods"' in json.loads(refused.value.body)["message"]


def test_an_identity_may_do_what_its_group_is_allowed(control_plane: ControlPlane, namespace: str) -> None:
    rbac = client.RbacAuthorizationV1Api(control_plane.api)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "looks"}, "rules": rules})
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": IDENTITIES["limited"]}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looks"}
    binding = {"metadata": {"name": "looks"}, "roleRef": role, "subjects": [group]}
    rbac.create_namespaced_role_binding(namespace, binding)

    def pods() -> bool:
        with connect(control_plane.identity("limited")) as api:
            try:
                return client.CoreV1Api(api).list_namespaced_pod(namespace).items == []
            except client.ApiException:
                return False

    await_that(pods, within=60)


def test_a_namespaces_default_account_can_have_a_token(cluster: Cluster, namespace: str) -> None:
    core = client.CoreV1Api(cluster.api)

    def token() -> str:
        try:
            made = core.create_namespaced_service_account_token("default", namespace, {"spec": {}})
        except client.ApiException:
            return ""
        return made.status.token

    await_that(token, within=60)


def test_the_api_server_reaches_a_pods_process(
    cluster: Cluster, namespace: str, pod: Callable[[str], str]
) -> None:
    with Addresses() as addresses:
        address = addresses.take()
        with serving(local_address(address)) as port:
            core = client.CoreV1Api(cluster.api)
            name = f"{pod(address)}:{port}"
            said = core.connect_get_namespaced_pod_proxy_with_path(name, namespace, "some/where")
    assert said == f"{local_address(address)} /some/where"


def test_the_api_server_reaches_nothing_but_pods(
    cluster: Cluster, namespace: str, pod: Callable[[str], str]
) -> None:
    name = f"{pod('192.0.2.7')}:80"
    with pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(cluster.api).connect_get_namespaced_pod_proxy_with_path(name, namespace, "x")
    assert "expected one of 10.244.0.0/16" in str(refused.value.body)


@pytest.mark.parametrize(("paper", "real"), PODS.items())
def test_a_pods_process_listens_on_loopback(paper: str, real: str) -> None:
    assert local_address(paper) == real


@pytest.mark.parametrize("address", ELSEWHERE)
def test_only_pods_have_a_local_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"10\.244\.0\.0/16|Expected 4 octets"):
        local_address(address)


def test_two_kubelets_share_no_address() -> None:
    with Addresses() as one, Addresses() as other:
        taken = [each.take() for each in (one, other) for _ in range(250)]
    assert len(set(taken)) == 500


def test_frozen_it_answers_nothing_and_thawed_it_does(control_plane: ControlPlane) -> None:
    core = client.CoreV1Api(control_plane.api)
    control_plane.freeze()
    try:
        with pytest.raises(HTTPError):
            core.list_node(_request_timeout=0.5)
    finally:
        control_plane.thaw()
    await_that(lambda: core.list_node(_request_timeout=5) is not None, within=60)


def test_what_was_written_outlives_a_restart(control_plane: ControlPlane, namespace: str) -> None:
    core = client.CoreV1Api(control_plane.api)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "kept"}, "data": {"a": "b"}})
    control_plane.restart()
    assert core.read_namespaced_config_map("kept", namespace).data == {"a": "b"}


def test_definitions_are_served_and_checked(cluster: Cluster, crds: Sequence[str], namespace: str) -> None:
    assert "virtualservices.networking.istio.io" in crds
    custom = client.CustomObjectsApi(cluster.api)
    group, version = "gateway.networking.k8s.io", "v1"
    backend = {"name": "web", "port": 80, "weight": -5}
    body = {
        "apiVersion": f"{group}/{version}",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {"rules": [{"backendRefs": [backend]}]},
    }
    with pytest.raises(client.ApiException) as refused:
        custom.create_namespaced_custom_object(group, version, namespace, "httproutes", body)
    assert refused.value.status == 422
    backend["weight"] = 100
    made = custom.create_namespaced_custom_object(group, version, namespace, "httproutes", body)
    assert made["spec"]["rules"][0]["backendRefs"][0]["weight"] == 100


def test_old_servers_get_definitions_without_what_they_refuse() -> None:
    schema = {
        "properties": {
            "a": {"type": "string", "default": "", "x-kubernetes-validations": [{"rule": "true"}]},
            "b": {"items": [{"default": "", "type": "string"}, {"default": "x"}]},
        }
    }
    simplify(schema)
    assert schema == {
        "properties": {"a": {"type": "string"}, "b": {"items": [{"type": "string"}, {"default": "x"}]}}
    }


def test_a_missing_program_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch(mode=0o755)
    with pytest.raises(AssertionError, match="found no kube-controller-manager in"), running(tmp_path):
        pass


def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in {
        "etcd": '[ "$1" = --help ] || exec sleep 60',
        "kube-apiserver": 'echo "no such flag" >&2; exit 7',
        "kube-controller-manager": "exit 0",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with TemporaryDirectory() as short:  # enough for a socket's path, which `tmp_path` may not be
        monkeypatch.setattr("tempfile.tempdir", short)
        with (
            pytest.raises(AssertionError, match=r"kube-apiserver: ended with 7.*no such flag"),
            running(tmp_path),
        ):
            pass
        assert list(Path(short).iterdir()) == []
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "insecure"), [((1, 20, 2), True), ((1, 23, 9), True), ((1, 36, 0), False)]
)
def test_only_old_controller_managers_are_told_to_have_no_insecure_port(
    version: servers.Version, *, insecure: bool, tmp_path: Path
) -> None:
    places = servers.Places(tmp_path, tmp_path, 1, 2, 3)
    command = servers.controller_manager(places, version, tmp_path / "kubeconfig")
    assert ("--port=0" in command) == insecure


def test_its_processes_can_be_found_by_their_mark(control_plane: ControlPlane) -> None:
    assert len(processes_of(control_plane.folder)) == 3
