"""What the rig's ``limited`` identity may do in a namespace: what Davy's roles allow, or less."""

from __future__ import annotations

from kubernetes import client

from tasks.cluster import Json
from tasks.cluster.kinds import DESTINATION_RULE, VIRTUAL_SERVICE
from tasks.fleets.kubernetes_check import NEEDS
from tests.flows.kubernetes.scene import Scene
from tests.rig.cluster import roles

NAME, IDENTITY = "davy", "limited"
_ALL = (
    *NEEDS,
    (VIRTUAL_SERVICE, "", "get list update"),
    (DESTINATION_RULE, "", "get list create patch delete"),
)


def allow(scene: Scene, *, without: tuple[str, str] = ("", "")) -> None:
    """Allow all that a release needs.

    Args:
        without: A resource, and the one verb of it that is left out.
    """
    roles.grant(scene.plane.api, scene.namespace, IDENTITY, _role(without))


def restrict(scene: Scene, without: tuple[str, str] = ("", "")) -> None:
    """Likewise, in place of what was allowed before."""
    rights = client.RbacAuthorizationV1Api(scene.plane.api)
    rights.replace_namespaced_role(NAME, scene.namespace, _role(without))


def _role(without: tuple[str, str]) -> Json:
    rules: list[Json] = []
    for kind, subresource, verbs in _ALL:
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        left = [verb for verb in verbs.split() if (resource, verb) != without]
        rules.append({"apiGroups": [kind.group], "resources": [resource], "verbs": left})
    return {"metadata": {"name": NAME}, "rules": rules}


def bind(scene: Scene) -> None:
    """Give the identity the role."""
    roles.bind(scene.plane.api, scene.namespace, IDENTITY, NAME)


def unbind(scene: Scene) -> None:
    """Take it away."""
    client.RbacAuthorizationV1Api(scene.plane.api).delete_namespaced_role_binding(NAME, scene.namespace)
