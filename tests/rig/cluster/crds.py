"""Istio's and Gateway API's definitions of their resources, in a cluster of the rig."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.rig.cluster.control_plane import Cluster
from tests.rig.stack import ROOT

Definition = dict[str, Any]

_RULES_SINCE = (1, 25)
"""The first version that knows ``x-kubernetes-validations`` and takes an empty text for a default."""
_WITHIN = 120
_DEFINITIONS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")


def crds_folder() -> Path:
    """Where the definitions are; a test that needs them is skipped where they are not."""
    shared = ROOT / os.environ.get("SHARED", "../shared")
    named = os.environ.get("DAVY_TEST_CRDS")
    folder = Path(named) if named else shared / "kubernetes" / "crds"
    if not any(folder.glob("*.yaml")):
        pytest.skip(
            f"found no definitions in {folder}: set DAVY_TEST_CRDS to a folder of Istio's and others'"
        )
    return folder


def install_crds(cluster: Cluster, folder: Path) -> Sequence[str]:
    """Create every definition of *folder* that the cluster has not; their names, once all are served."""
    definitions = list(_definitions(folder))
    custom = client.CustomObjectsApi(cluster.api)  # whose answers are plain JSON, and schemas are large
    for definition in definitions:
        if cluster.version[:2] < _RULES_SINCE:
            simplify(definition["spec"])
        try:
            custom.create_cluster_custom_object(*_DEFINITIONS, definition)
        except client.ApiException as error:
            if error.status != 409:
                raise
    deadline = time.monotonic() + _WITHIN
    missing = definitions
    while missing := [each for each in missing if not _is_served(custom, each)]:
        names = ", ".join(each["metadata"]["name"] for each in missing)
        assert time.monotonic() < deadline, f"{names}: not served in {_WITHIN} s"
        time.sleep(0.05)
    return [definition["metadata"]["name"] for definition in definitions]


def simplify(schema: object) -> None:
    """Take out what old servers refuse, at any depth."""
    if isinstance(schema, dict):
        schema.pop("x-kubernetes-validations", None)
        if schema.get("default") == "":
            del schema["default"]
        for part in schema.values():
            simplify(part)
    elif isinstance(schema, list):
        for part in schema:
            simplify(part)


def _definitions(folder: Path) -> Iterator[Definition]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(file.read_text(), loader):
            if document and document["kind"] == "CustomResourceDefinition":
                yield document


def _is_served(custom: client.CustomObjectsApi, definition: Definition) -> bool:
    """Whether it is established, and each of its versions can be listed."""
    spec = definition["spec"]
    found = custom.get_cluster_custom_object(*_DEFINITIONS, definition["metadata"]["name"])
    conditions = found.get("status", {}).get("conditions") or ()  # null at first
    if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
        return False
    try:
        for version in spec["versions"]:
            if version["served"]:
                custom.list_cluster_custom_object(
                    spec["group"], version["name"], spec["names"]["plural"], limit=1
                )
    except client.ApiException as error:
        if error.status == 404:
            return False
        raise
    return True
