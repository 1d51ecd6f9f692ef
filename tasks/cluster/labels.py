"""What Davy writes on objects, so that a person with kubectl, and Davy itself, sees whose they are."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

from tasks.domain.model import Slot

MANAGER = "davy"
"""The field manager of all that Davy applies."""
MANAGED_BY = "app.kubernetes.io/managed-by"
SERVICE = "davy/service"
SLOT = "davy/slot"
RELEASE = "davy/release"
"""Labels of everything that Davy makes."""
VERSION_LABEL = "version"
"""The label by which meshes and dashboards tell versions apart."""
VERSION = "davy/version"
"""Annotation of a pod: the version that it runs, as it was asked for."""
IMAGE = "davy/image"
"""Annotation of a pod: the image that this version was; with another one it is another version."""
EPOCH = "davy/epoch"
"""Annotation: the lease under which an object of Davy's was last written; a write with an older one is refused."""
CONFIG = "davy/config"
"""Annotation of a Deployment: which ConfigMaps and Secrets it refers to in place of which, as JSON."""
LABEL_LIMIT = 63


@dataclass(frozen=True)
class Marks:
    """Annotations of a user's own object while releases use it: a set for each service that it routes.

    Attributes:
        original: What the object said before, as JSON.
        epoch: The lease under which it was last written for the service.
        release: The release that uses it.
        split: Of a Service that splits by itself: the split that was asked for, as JSON.
    """

    original: str
    epoch: str
    release: str
    split: str

    @classmethod
    def of(cls, service: str) -> Marks:
        """Those of one service."""
        return cls(*(f"davy/{word}.{service}" for word in ("original", "epoch", "release", "split")))

    @property
    def all(self) -> frozenset[str]:
        """Their keys."""
        return frozenset(astuple(self))


def labels_of(service: str, slot: Slot, release: str) -> dict[str, str]:
    """The labels of an object that *release* makes for *slot*."""
    return {
        MANAGED_BY: MANAGER,
        SERVICE: service,
        SLOT: str(slot),
        RELEASE: label_value(release),
    }


def slot_labels(service: str, slot: Slot) -> dict[str, str]:
    """What tells the pods of *slot* from all others, where Davy has made them."""
    return {SERVICE: service, SLOT: str(slot)}


def is_ours(label: str) -> bool:
    """Whether Davy has written this label."""
    return label.startswith("davy/") or label == MANAGED_BY


def label_value(text: str) -> str:
    """*text* as the value of a label may be: its end where it is too long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[-LABEL_LIMIT:].strip("-._")


def version_label(version: str, slot: Slot) -> str:
    """The value of `VERSION_LABEL`: no other slot of the service has it."""
    ending = f"-{slot}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", version).strip("-._")
    return f"{plain[: LABEL_LIMIT - len(ending)].rstrip('-._')}{ending}".lstrip("-")
