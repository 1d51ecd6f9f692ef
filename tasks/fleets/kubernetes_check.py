"""What keeps a service on Kubernetes from being released: found before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.cluster import Cluster, Json
from tasks.cluster.cluster import labels_on
from tasks.cluster.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
)
from tasks.cluster.labels import SERVICE as SERVICE_LABEL
from tasks.cluster.ownership import applied_by
from tasks.cluster.permissions import Need, refuse_forbidden
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.kubernetes import KubernetesFleet, ServiceRouter
from tasks.domain.model import Slot
from tasks.domain.spec import Rolling, ServiceFile
from tasks.fleets.kubernetes_autoscaling import autoscaler_of
from tasks.fleets.kubernetes_config import kinds_in, refuse_unused
from tasks.fleets.kubernetes_template import container_of

NEEDS: tuple[Need, ...] = (
    (DEPLOYMENT, "", "get list create patch update delete"),
    (POD, "", "get list"),
    (POD, "proxy", "get"),
    (SERVICE, "", "get list create patch update delete"),
    (ENDPOINT_SLICE, "", "list"),
    (AUTOSCALER, "", "list create patch"),
    (DISRUPTION_BUDGET, "", "list create patch"),
)
"""What every release on Kubernetes may have to do."""


def refuse_unfit(cluster: Cluster, file: ServiceFile, config: dict[str, Json]) -> None:
    """Make sure that the service can be released here.

    Args:
        config: The ConfigMaps and Secrets that come with the version.

    Raises:
        GoneError: There is no such Deployment or Service; not retried.
        InputError: A field of the service file does not fit them; not retried.
        PermanentError: A permission is missing, or another tool applies what a release changes; not retried.
        TransientError: The API server does not answer; retried.
    """
    needs = [*NEEDS, *((kind, "", "list create patch delete") for kind in kinds_in(config))]
    refuse_forbidden(cluster, needs)
    fleet = file.kubernetes
    own = cluster.need(DEPLOYMENT, fleet.deployment_of(file.service, Slot.BLUE))
    subject = cluster.subject(DEPLOYMENT, own["metadata"]["name"])
    refuse_selector(own, subject)
    container_of(fleet, own["spec"]["template"], subject)
    if config:
        refuse_unused(config, own["spec"]["template"]["spec"], subject)
    if isinstance(file.router, ServiceRouter):
        refuse_strangers(cluster, file, own)
    if isinstance(file, Rolling) and (scaler := autoscaler_of(cluster, own["metadata"]["name"])):
        found = cluster.subject(AUTOSCALER, scaler["metadata"]["name"])
        raise InputError(
            "strategy", f"rolling, with {found}", "another strategy: an autoscaler undoes its batches"
        )
    refuse_other_tools(fleet, own, subject)


def refuse_selector(own: Json, subject: str) -> None:
    """Make sure that pods can be told apart by labels.

    Raises:
        InputError: The own Deployment selects by expressions; not retried.
    """
    selector = own["spec"]["selector"]
    if selector.get("matchExpressions") or not selector.get("matchLabels"):
        raise InputError("fleet.deployment", subject, "a Deployment whose selector has matchLabels only")


def refuse_strangers(cluster: Cluster, file: ServiceFile, own: Json) -> None:
    """Make sure that the users' Service leads to pods of the service only, and the own selector to its own.

    Raises:
        GoneError: There is no such Service; not retried.
        InputError: One selects others' pods too, or the Service none of the service's; not retried.
    """
    router = file.router
    name = router.service_of(file.service) if isinstance(router, ServiceRouter) else file.service
    users, subject = cluster.need(SERVICE, name), cluster.subject(SERVICE, name)
    selector = users["spec"].get("selector") or {}
    own_subject = cluster.subject(DEPLOYMENT, own["metadata"]["name"])
    others = [one for one in cluster.list(DEPLOYMENT) if one["metadata"]["uid"] != own["metadata"]["uid"]]
    ours = [own, *(one for one in others if _labels(one).get(SERVICE_LABEL) == file.service)]
    own_labels = own["spec"]["selector"]["matchLabels"]
    asked = (("router.service", subject, selector), ("fleet.deployment", own_subject, own_labels))
    for field, who, wanted in asked:
        found = [
            one for one in others if one not in ours and wanted and wanted.items() <= _labels(one).items()
        ]
        if found:
            strangers = ", ".join(cluster.subject(DEPLOYMENT, one["metadata"]["name"]) for one in found)
            expected = f"only the pods of {own_subject} to be selected"
            raise InputError(field, f"{who}, also selecting {strangers}", expected)
    if selector and not any(selector.items() <= _labels(one).items() for one in ours):
        words = ", ".join(f"{key}={value}" for key, value in selector.items())
        raise InputError(
            "router.service", f"{subject}, selecting {words}", f"it to select the pods of {own_subject}"
        )


def _labels(deployment: Json) -> dict[str, str]:
    """Those of its pods."""
    return labels_on(deployment["spec"]["template"])


def refuse_other_tools(fleet: KubernetesFleet, own: Json, subject: str) -> None:
    """Make sure that no tool applies, over and over, what a release changes.

    Raises:
        PermanentError: One does; not retried.
    """
    container = container_of(fleet, own["spec"]["template"], subject)["name"]
    for field, manager in _foreign(own, container):
        msg = f"{subject}: found {field} applied by {manager!r}, expected to be left to Davy: take it out of what that tool applies"
        raise PermanentError(msg)


def _foreign(own: Json, container: str) -> Iterator[tuple[str, str]]:
    image = ("template", "spec", "containers", f'k:{{"name":"{container}"}}', "image")
    for path in (("replicas",), image):
        if manager := applied_by(own, "spec", *path):
            yield ".".join(("", "spec", *path)), manager
