"""What runs a revision on Kubernetes: from the service's own Deployment to the one of a slot. Pure.

A slot's Deployment is the own one with another image and with labels that tell its pods apart: the
own Deployment's selector must not match them, since autoscalers count pods by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tasks.cluster import Json
from tasks.cluster.cluster import annotations_of, labels_on
from tasks.cluster.labels import (
    CONFIG,
    EPOCH,
    IMAGE,
    SERVICE,
    SLOT,
    VERSION,
    VERSION_LABEL,
    is_ours,
    labels_of,
    slot_labels,
    version_label,
)
from tasks.domain.errors import InputError
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.model import Revision, Slot

_TELLS_APART = (VERSION_LABEL, "app.kubernetes.io/version", "track", "app.kubernetes.io/instance")
"""Keys that are meant for it, the first that there is wins."""
_NAMES = ("app.kubernetes.io/name", "app", "k8s-app", "name")
"""Keys that have to do where there is no other."""
_COPIED = ("strategy", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit")


def container_of(fleet: KubernetesFleet, template: Json, subject: str) -> Json:
    """The container whose image is the version.

    Raises:
        InputError: There is none of that name, or several to choose from; not retried.
    """
    containers: list[Json] = template["spec"]["containers"]
    found = [one for one in containers if fleet.container in (None, one["name"])]
    if len(found) != 1:
        names = ", ".join(one["name"] for one in containers)
        raise InputError("fleet.container", fleet.container, f"one container of {subject} ({names})")
    return found[0]


def image_of(fleet: KubernetesFleet, image: str, version: str) -> str:
    """The image of *version*: as the service file says, or the one that runs with another tag or digest."""
    if fleet.image:
        return fleet.image.format(version=version)
    base = image.partition("@")[0]
    name, colon, tag = base.rpartition(":")
    base = name if colon and "/" not in tag else base
    return f"{base}@{version}" if version.startswith("sha256:") else f"{base}:{version}"


def version_of(fleet: KubernetesFleet, template: Json, subject: str) -> str:
    """The version that a pod, or a pod template, runs: what it was asked for by, or its image's tag."""
    image = container_of(fleet, template, subject)["image"]
    said = annotations_of(template)
    if VERSION in said and said.get(IMAGE) == image:
        return said[VERSION]
    base, at, digest = image.partition("@")
    if at:
        return str(digest)
    _, colon, tag = base.rpartition(":")
    return str(tag) if colon and "/" not in tag else "latest"


def told_apart_by(selector: Mapping[str, str], of_service: Mapping[str, str]) -> str:
    """The label whose value differs between the own Deployment's pods and those of other slots.

    One that the Service does not select by, where there is one: then it selects the pods of all slots.

    Args:
        selector: The own Deployment's matchLabels.
        of_service: The users' Service's selector.
    """
    free = [key for key in selector if key not in of_service]
    order = (*_TELLS_APART, *sorted(free), *_NAMES, *sorted(selector))
    return next(key for key in order if key in (free or selector))


def deployment_of(
    own: Json,
    base: Json,
    revision: Revision,
    replicas: int,
    *,
    key: str,
    image: str,
    release: str,
    epoch: int,
) -> Json:
    """The Deployment of a slot that is not the own one, as it is applied.

    Args:
        own: The service's own Deployment, whose labels it takes over.
        base: The Deployment whose pods it runs: the own one, or the one of the same version.
        key: The label that tells its pods apart, see `told_apart_by`.
    """
    selector = own["spec"]["selector"]["matchLabels"]
    template = deepcopy(base["spec"]["template"])
    kept = {name: value for name, value in labels_on(own["spec"]["template"]).items() if not is_ours(name)}
    apart = {VERSION_LABEL: version_label(revision.version, revision.slot)}
    if key != VERSION_LABEL:
        apart[key] = f"{selector[key]}-{revision.slot}"
    ours = labels_of(revision.service, revision.slot, release)
    template["metadata"] = {
        "labels": kept | apart | ours,
        "annotations": annotations_of(template) | {VERSION: revision.version, IMAGE: image},
    }
    return {
        "metadata": {
            "name": f"{own['metadata']['name']}-{revision.slot}",
            "labels": ours,
            "annotations": {EPOCH: str(epoch), VERSION: revision.version},
            "ownerReferences": [owner_of(own)],
        },
        "spec": {
            **{name: own["spec"][name] for name in _COPIED if name in own["spec"]},
            "replicas": replicas,
            "selector": {"matchLabels": slot_labels(revision.service, revision.slot)},
            "template": template,
        },
    }


def own_deployment(own: Json, template: Json, revision: Revision, *, container: str, image: str) -> Json:
    """What is applied to the own Deployment, so that it runs *revision*: no field that it need not have.

    Args:
        template: Its template with the references to the revision's own configuration.
    """
    labels = {VERSION_LABEL: version_label(revision.version, revision.slot)}
    selector = own["spec"]["selector"]["matchLabels"]
    said = annotations_of(template)
    annotations = {VERSION: revision.version, IMAGE: image}
    annotations |= {CONFIG: said[CONFIG]} if CONFIG in said else {}
    spec = changed_references(own["spec"]["template"]["spec"], template["spec"])
    others = [one for one in spec.get("containers", []) if one["name"] != container]
    same = [one for one in spec.get("containers", []) if one["name"] == container]
    spec["containers"] = [*others, *(one | {"image": image} for one in same or [{"name": container}])]
    return {
        "metadata": {"name": own["metadata"]["name"], "resourceVersion": own["metadata"]["resourceVersion"]},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": annotations,
                    "labels": {name: value for name, value in labels.items() if name not in selector},
                },
                "spec": spec,
            }
        },
    }


def changed_references(before: Json, after: Json) -> Json:
    """Of a pod's *after*, the lists of *before* that differ, by what they are merged by."""
    changed: Json = {}
    if before.get("volumes") != after.get("volumes"):
        old = {one["name"]: one for one in before.get("volumes", [])}
        changed["volumes"] = [one for one in after["volumes"] if old.get(one["name"]) != one]
    for kind in ("initContainers", "containers"):
        pairs = zip(before.get(kind, []), after.get(kind, []), strict=True)
        differing = [(old, new) for old, new in pairs if old != new]
        if differing:
            changed[kind] = [_references(old, new) for old, new in differing]
    return changed


def _references(old: Json, new: Json) -> Json:
    fields: dict[str, Any] = {"name": new["name"]}
    if old.get("envFrom") != new.get("envFrom"):
        fields["envFrom"] = new["envFrom"]
    known = {one["name"]: one for one in old.get("env", [])}
    env = [one for one in new.get("env", []) if known.get(one["name"]) != one]
    return fields | ({"env": env} if env else {})


def with_references(template: Json, names: Mapping[str, str]) -> Json:
    """*template* that refers to ConfigMaps and Secrets by other names, after it is brought back to the user's.

    Args:
        names: By the user's name of a ConfigMap or Secret, the one to use.
    """
    changed = deepcopy(template)
    used: dict[str, str] = json.loads(annotations_of(changed).get(CONFIG, "{}"))
    back = {theirs: users for users, theirs in used.items()}
    for holder, field in references(changed["spec"]):
        said: str = holder[field]
        users = back.get(said, said)
        holder[field] = names.get(users, users)
    annotations = {name: text for name, text in annotations_of(changed).items() if name != CONFIG}
    if names:
        annotations[CONFIG] = json.dumps(dict(names), sort_keys=True)
    changed.setdefault("metadata", {})["annotations"] = annotations
    return changed


def references(pod: Json) -> list[tuple[Json, str]]:
    """Where a pod's spec names a ConfigMap or a Secret: what holds the name, and under which key."""
    found: list[tuple[Json, str]] = []
    for volume in pod.get("volumes") or []:
        sources = [volume, *(volume.get("projected") or {}).get("sources", [])]
        found += [(one["configMap"], "name") for one in sources if "configMap" in one]
        found += [(one["secret"], "name") for one in sources[1:] if "secret" in one]
        found += [(volume["secret"], "secretName")] if "secret" in volume else []
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        for one in container.get("envFrom") or []:
            found += [(one[kind], "name") for kind in ("configMapRef", "secretRef") if kind in one]
        for one in container.get("env") or []:
            origin = one.get("valueFrom") or {}
            found += [
                (origin[kind], "name") for kind in ("configMapKeyRef", "secretKeyRef") if kind in origin
            ]
    return found


def owner_of(found: Json) -> Json:
    """The reference by which *found* owns something."""
    metadata = found["metadata"]
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def slot_on(found: Json, service: str) -> Slot | None:
    """The slot that a pod's labels name; None for the own Deployment's."""
    labels = labels_on(found)
    return Slot(labels[SLOT]) if labels.get(SERVICE) == service else None
