"""Davy's roles: what a release needs is allowed, and nothing else, by a real API server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from kubernetes import client
from urllib3.exceptions import HTTPError

from deployments.service_files import load
from tasks.cluster import Cluster
from tasks.cluster.kinds import CONFIG_MAP, SECRET, Kind
from tasks.cluster.permissions import Need, refuse_forbidden
from tasks.domain.errors import PermanentError
from tasks.fleets.kubernetes_check import NEEDS
from tasks.routers import open_router
from tests.infra.test_kubernetes import FOLDER, SERVICES, Object, documents, name_of, objects
from tests.rig.cluster import control_plane as rig
from tests.rig.cluster import fixtures

control_plane, cluster, crds, namespace = (
    fixtures.control_plane,
    fixtures.cluster,
    fixtures.crds,
    fixtures.namespace,
)

Rights = set[tuple[str, str, str]]
"""API group, resource (with its subresource) and verb."""

ROLES = sorted(path.stem for path in (FOLDER / "rbac").glob("*.yaml"))
NEEDED = {
    "base": NEEDS,
    "config": tuple((kind, "", "list create patch delete") for kind in (CONFIG_MAP, SECRET)),
}
DANGEROUS = {"*", "escalate", "bind", "impersonate", "deletecollection"}
WITHIN = 10
"""Seconds that the API server may take to know of a role."""
FORBIDDEN = [
    *((SECRET, "", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *((CONFIG_MAP, "", verb) for verb in ("get", "list", "create")),
    *(
        (Kind("Pod", "pods"), sub, "create")
        for sub in ("exec", "attach", "portforward", "ephemeralcontainers")
    ),
    *((Kind("Pod", "pods"), "", verb) for verb in ("create", "delete", "watch")),
    (Kind("Pod", "pods"), "proxy", "create"),
    *(
        (Kind("Role", "roles", "rbac.authorization.k8s.io"), "", verb)
        for verb in ("get", "create", "escalate")
    ),
    (Kind("RoleBinding", "rolebindings", "rbac.authorization.k8s.io"), "", "create"),
    (Kind("ServiceAccount", "serviceaccounts"), "token", "create"),
    (Kind("ServiceAccount", "serviceaccounts"), "", "impersonate"),
    (Kind("Job", "jobs", "batch"), "", "create"),
    (Kind("DaemonSet", "daemonsets", "apps"), "", "create"),
    (Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io"), "", "delete"),
    (Kind("Node", "nodes", namespaced=False), "", "list"),
    (Kind("Namespace", "namespaces", namespaced=False), "", "list"),
]
"""A few of all that no release needs."""


def role(path: str) -> Object:
    """The role of one file."""
    (found,) = [one for one in documents(FOLDER / path) if one["kind"] == "Role"]
    return found


def rights(rules: Sequence[Object]) -> Rights:
    """What *rules* allow."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def as_rights(needs: Sequence[Need]) -> Rights:
    """The same of what the code says that it needs."""
    return {
        (kind.group, f"{kind.plural}/{sub}" if sub else kind.plural, verb)
        for kind, sub, verbs in needs
        for verb in verbs.split()
    }


@pytest.fixture
def davy(cluster: rig.Cluster, namespace: str) -> Iterator[Cluster]:
    """The namespace as Davy's service account sees it."""
    with rig.connect(cluster.kubeconfig) as api:
        api.set_default_header("Impersonate-User", "system:serviceaccount:davy:davy")
        yield Cluster(api, namespace)


@pytest.fixture
def grant(cluster: rig.Cluster, namespace: str) -> Callable[[str], None]:
    """Applies a file of rbac/ to the namespace."""

    def apply(name: str) -> None:
        rbac = client.RbacAuthorizationV1Api(cluster.api)
        for one in documents(FOLDER / "rbac" / f"{name}.yaml"):
            assert "namespace" not in one["metadata"], "the team names its own"
            make = {"Role": rbac.create_namespaced_role, "RoleBinding": rbac.create_namespaced_role_binding}
            make[one["kind"]](namespace, one)

    return apply


def await_allowed(davy: Cluster, needs: Sequence[Need]) -> None:
    """Return once everything is allowed; the API server reads roles a moment later."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            refuse_forbidden(davy, needs)
        except PermanentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def test_there_are_no_cluster_roles_and_no_dangerous_verbs() -> None:
    for one in objects():
        assert one["kind"] not in ("ClusterRole", "ClusterRoleBinding")
        for rule in one.get("rules", []) if one["kind"] == "Role" else []:
            assert not DANGEROUS & {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}, name_of(one)
            assert rule.keys() == {"apiGroups", "resources", "verbs"}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_is_bound_to_davy_alone(name: str) -> None:
    found, binding = documents(FOLDER / "rbac" / f"{name}.yaml")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": found["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "davy", "namespace": "davy"}]


@pytest.mark.parametrize("name", NEEDED)
def test_a_role_has_what_the_fleet_needs_and_no_more(name: str) -> None:
    assert rights(role(f"rbac/{name}.yaml")["rules"]) == as_rights(NEEDED[name])


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_role_has_what_its_router_needs_and_no_more(
    path: Path, cluster: rig.Cluster, crds: Sequence[str]
) -> None:
    assert crds
    service = load(path)
    fleet = service.kubernetes.model_copy(update={"kubeconfig": str(cluster.kubeconfig)})
    needs = getattr(open_router(service.model_copy(update={"fleet": fleet})), "needs", tuple)()
    own = FOLDER / "rbac" / f"{service.router.kind.replace('_', '-')}.yaml"
    assert as_rights(needs) - as_rights(NEEDS) == (
        rights(role(f"rbac/{own.name}")["rules"]) if own.exists() else set()
    )


def test_nothing_is_allowed_without_a_role(davy: Cluster) -> None:
    for kind, sub, verbs in NEEDS:
        assert all(davy.refuses(verb, kind, sub) for verb in verbs.split())


def test_with_the_base_role_a_release_may_do_what_it_needs_here_only(
    davy: Cluster, grant: Callable[[str], None], cluster: rig.Cluster
) -> None:
    grant("base")
    await_allowed(davy, NEEDS)
    for kind, sub, verb in FORBIDDEN:
        assert davy.refuses(verb, kind, sub), f"{verb} {kind.plural}/{sub}"
    elsewhere = f"davy-{secrets.token_hex(4)}"
    core = client.CoreV1Api(cluster.api)
    core.create_namespace({"metadata": {"name": elsewhere}})
    try:
        other = Cluster(davy._api, elsewhere)
        for kind, sub, verbs in NEEDS:
            assert all(other.refuses(verb, kind, sub) for verb in verbs.split())
    finally:
        with suppress(client.ApiException, HTTPError):
            core.delete_namespace(elsewhere)


@pytest.mark.parametrize("name", [name for name in ROLES if name != "base"])
def test_a_further_role_allows_what_it_says_and_nothing_else(
    name: str, davy: Cluster, grant: Callable[[str], None], crds: Sequence[str]
) -> None:
    assert crds
    rules = role(f"rbac/{name}.yaml")["rules"]
    grant(name)
    await_allowed(davy, [_need(group, resource, verb) for group, resource, verb in rights(rules)])
    allowed = rights(rules)
    for kind, sub, verb in FORBIDDEN:
        may = (kind.group, kind.plural, verb) in allowed and not sub
        assert bool(davy.refuses(verb, kind, sub)) != may, f"{verb} {kind.plural}/{sub}"
    for other in set(ROLES) - {name}:
        for right in rights(role(f"rbac/{other}.yaml")["rules"]) - allowed:
            kind, sub, verb = _need(*right)
            assert davy.refuses(verb, kind, sub), right


def test_the_worker_may_only_make_jobs_and_look_at_their_pods() -> None:
    allowed = rights(role("work-pool/worker.yaml")["rules"])
    assert {resource for _, resource, verb in allowed if verb not in ("get", "list", "watch")} == {"jobs"}
    assert not {resource for _, resource, _ in allowed} & {"secrets", "configmaps", "pods/exec"}


def _need(group: str, resource: str, verb: str) -> Need:
    plural, _, sub = resource.partition("/")
    return Kind(plural, plural, group), sub, verb
