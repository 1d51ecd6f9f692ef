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
    access = client.RbacAuthorizationV1Api(api)
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": IDENTITIES[identity]}
    for role in roles(*names):
        name = role["metadata"]["name"]
        access.create_namespaced_role(namespace, role)
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [group]}
        access.create_namespaced_role_binding(namespace, binding)
