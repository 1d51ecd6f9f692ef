"""A real API server takes every manifest, and knows every field in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from prefect.utilities.templating import apply_values

from tests.infra.test_kubernetes import ALL, ELSEWHERE, FOLDER, Object, documents, name_of
from tests.rig.cluster import fixtures
from tests.rig.cluster.control_plane import Cluster

control_plane, cluster, crds, namespace = (
    fixtures.control_plane,
    fixtures.cluster,
    fixtures.crds,
    fixtures.namespace,
)

OLDER = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
"""What servers before 1.23 and 1.21 have in place of it, with the same fields."""
FILES = [path for path in ALL if path.name not in ELSEWHERE]
NOT_OF_PODS = ("parallelism", "completions")
"""Prefect's worker insists on these fields in the pod's spec, where the API server drops them."""


@pytest.fixture(scope="module")
def server(cluster: Cluster, crds: Sequence[str]) -> DynamicClient:
    """A client that knows what the server has."""
    assert crds
    return DynamicClient(cluster.api)


def served(client: DynamicClient, wanted: Object, namespace: str, *, dry: bool = True) -> Object:
    """What the server makes of an object in another namespace, by a *dry* run or really.

    Raises:
        ApiException: It refuses it.
    """
    body = deepcopy(wanted)
    try:
        resource = client.resources.get(api_version=body["apiVersion"], kind=body["kind"])
    except ResourceNotFoundError:
        body["apiVersion"] = OLDER[body["apiVersion"]]
        resource = client.resources.get(api_version=body["apiVersion"], kind=body["kind"])
    where = {}
    if resource.namespaced:
        body["metadata"]["namespace"] = where["namespace"] = namespace
    where |= {"dry_run": "All"} if dry else {}
    answer = client.create(resource, body=body, serialize=False, **where)
    made: Object = json.loads(answer.data)
    return made


def lost(sent: Any, back: Any, path: str = "") -> list[str]:  # noqa: ANN401 - any part of an object
    """What was sent and did not come back as it was."""
    if isinstance(sent, Mapping):
        if not isinstance(back, Mapping):
            return [path]
        return [
            one
            for key, value in sent.items()
            for one in lost(value, back.get(key), f"{path}.{key}".strip("."))
        ]
    if isinstance(sent, list):
        if not isinstance(back, list) or len(back) != len(sent):
            return [path]
        pairs = enumerate(zip(sent, back, strict=True))
        return [one for number, (old, new) in pairs for one in lost(old, new, f"{path}[{number}]")]
    return [] if sent == back else [path]


def expected(one: Object) -> Object:
    """What comes back of an object."""
    wanted = deepcopy(one)
    del wanted["apiVersion"]
    wanted["metadata"].pop("namespace", None)
    wanted.pop("stringData", None)  # comes back as data, encoded
    return wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_manifest_is_taken_whole(path: Path, server: DynamicClient, namespace: str) -> None:
    for one in documents(path):
        back = served(server, one, namespace)
        assert lost(expected(one), back) == [], name_of(one)
        assert back.get("data", {}).keys() >= one.get("stringData", {}).keys()


def test_a_jobs_template_is_taken_whole(cluster: Cluster, server: DynamicClient, namespace: str) -> None:
    template = json.loads((FOLDER / "work-pool" / "base-job-template.json").read_text())
    known = template["variables"]["properties"]
    values = {name: one["default"] for name, one in known.items() if "default" in one}
    values |= {"name": "canary-1", "labels": {"prefect.io/flow-run-id": "1"}, "annotations": {"a": "b"}}
    values |= {"command": ["prefect", "flow-run", "execute"], "env": [{"name": "A", "value": "b"}]}
    wanted = apply_values(template["job_configuration"], values)["job_manifest"]
    spec = wanted["spec"]["template"]["spec"]
    assert {spec.pop(name) for name in NOT_OF_PODS} == {1}
    if cluster.version < (1, 21, 0):
        del wanted["spec"]["ttlSecondsAfterFinished"]
    assert lost(expected(wanted), served(server, wanted, namespace)) == []
    assert wanted["spec"]["backoffLimit"] == 0


def test_a_jobs_template_names_no_variable_that_it_does_not_have() -> None:
    template = json.loads((FOLDER / "work-pool" / "base-job-template.json").read_text())
    named = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert named == template["variables"]["properties"].keys()


@pytest.mark.parametrize(
    "change",
    [
        {"replica": 1},
        {"strategy": {"typ": "Recreate"}},
        {"template": {"spec": {"containers": [{"imagee": "x"}]}}},
    ],
    ids=["spec", "nested", "list"],
)
def test_a_misspelt_field_would_be_found(change: Object, server: DynamicClient, namespace: str) -> None:
    wanted = deepcopy(documents(FOLDER / "5-watcher.yaml")[0])
    _merge(wanted["spec"], change)
    assert lost(expected(wanted), served(server, wanted, namespace)) != []


def _merge(into: Any, change: Any) -> None:  # noqa: ANN401 - any part of an object
    for key, value in change.items():
        if isinstance(value, list):
            into[key][0] |= value[0]
        elif isinstance(value, Mapping) and key in into:
            _merge(into[key], value)
        else:
            into[key] = value
