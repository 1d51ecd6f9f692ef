"""What Davy may do on Kubernetes: the roles that infra/ ships, for an identity of the tests."""

from __future__ import annotations

from typing import Any

import yaml
from kubernetes import client

from tests.rig.cluster.control_plane import IDENTITIES
from tests.rig.stack import ROOT

ROLES = ROOT / "infra" / "kubernetes" / "rbac"


def roles(*names: str) -> list[dict[str, Any]]:
    """The roles of these files, all where none is named."""
    files = sorted(path for path in ROLES.glob("*.yaml") if not names or path.stem in names)
    return [one for path in files for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "Role"]


def allow(api: client.ApiClient, namespace: str, identity: str, *names: str) -> None:
    """Give *identity* the roles in a namespace."""
    for role in roles(*names):
        grant(api, namespace, identity, role)


def grant(api: client.ApiClient, namespace: str, identity: str, role: dict[str, Any]) -> None:
    """Create a role, and give it to *identity*."""
    client.RbacAuthorizationV1Api(api).create_namespaced_role(namespace, role)
    bind(api, namespace, identity, role["metadata"]["name"])


def bind(api: client.ApiClient, namespace: str, identity: str, name: str) -> None:
    """Give *identity* the role of that name, by a binding of the same name."""
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": IDENTITIES[identity]}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [group]}
    client.RbacAuthorizationV1Api(api).create_namespaced_role_binding(namespace, binding)
