"""Containers have the environment and the command that Kubernetes would give them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping

import pytest

from tests.rig.cluster.kubelet_api import Json
from tests.rig.cluster.kubelet_environment import command_of, expand, variables_of
from tests.rig.cluster.kubelet_images import Image, find_image, name_of, tag_of

POD = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app.kubernetes.io/name": "x"}},
    "spec": {"nodeName": "rig"},
}
OBJECTS = {
    ("configmaps", "map"): {"data": {"A": "map", "B": "map"}},
    ("secrets", "secret"): {"data": {"B": base64.b64encode(b"secret").decode()}},
}
VARIABLES = {"A": "1", "B.c": "2"}
REFERENCES = {
    "shop": ("shop", "latest"),
    "shop:1.0": ("shop", "1.0"),
    "localhost:5000/a/shop": ("localhost:5000/a/shop", "latest"),
    "localhost:5000/a/shop:2": ("localhost:5000/a/shop", "2"),
    "shop:1.0@sha256:ab": ("shop", "1.0"),
}


def variables(**container: object) -> Mapping[str, str]:
    """What a container with these keys has."""

    async def find(kind: str, name: str) -> Json | None:
        return OBJECTS.get((kind, name))

    return asyncio.run(variables_of(POD, container, "10.244.3.7", find))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)-$(B.c)", "1-2"),
        ("$(C)", "$(C)"),
        ("$$(A)", "$(A)"),
        ("$A ${A} $( A)", "$A ${A} $( A)"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES) == expanded


def test_a_variable_may_refer_to_those_before_it() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}, {"name": "C", "value": "$(D)"}]
    assert variables(env=env) == {"A": "1", "B": "12", "C": "$(D)"}


def test_later_sources_win() -> None:
    sources = [{"configMapRef": {"name": "map"}}, {"secretRef": {"name": "secret"}}]
    assert variables(envFrom=sources) == {"A": "map", "B": "secret"}
    assert variables(envFrom=sources, env=[{"name": "B", "value": "own"}])["B"] == "own"


def test_a_source_may_have_a_prefix() -> None:
    assert variables(envFrom=[{"prefix": "X_", "secretRef": {"name": "secret"}}]) == {"X_B": "secret"}


def test_what_is_optional_may_be_missing() -> None:
    reference = {"name": "absent", "key": "a", "optional": True}
    env = [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]
    sources = [{"configMapRef": {"name": "absent", "optional": True}}]
    assert variables(env=env, envFrom=sources) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app.kubernetes.io/name']", "x"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "rig"),
        ("status.podIP", "127.244.3.7"),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    env = [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}]
    assert variables(env=env) == {"A": value}


def test_a_command_takes_the_place_of_the_images() -> None:
    assert command_of({"args": ["$(A)"]}, ["python", "shop.py"], VARIABLES) == ["python", "shop.py", "1"]
    assert command_of({"command": ["sh"], "args": ["x"]}, ["python"], {}) == ["sh", "x"]


@pytest.mark.parametrize(("reference", "parts"), REFERENCES.items())
def test_an_image_is_named_with_a_tag_or_without(reference: str, parts: tuple[str, str]) -> None:
    assert (name_of(reference), tag_of(reference)) == parts


def test_images_are_known_by_name_by_tag_or_by_a_rule() -> None:
    images = {"any": Image(), "some": Image(tags={"1.0"})}
    known = [find_image(images, each) is not None for each in ("any:9", "some:1.0", "some:2.0", "none:1")]
    assert known == [True, True, False, False]
    assert find_image(lambda name: name.endswith(":1"), "a:1") == Image()
    assert find_image(lambda name: name.endswith(":1"), "a:2") is None
