"""The environment and the command of a container, as Kubernetes makes them."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tests.rig.cluster.addresses import local_address
from tests.rig.cluster.kubelet_api import Json

Lookup = Callable[[str, str], Awaitable[Json | None]]
"""Finds ``configmaps`` or ``secrets`` by name in the pod's namespace."""
_KINDS = {"configMap": ("configmaps", "configmap", "ConfigMap"), "secret": ("secrets", "secret", "Secret")}
_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z_.\-][\w.\-]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ConfigError(Exception):
    """A container cannot be configured; its text is the kubelet's own."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes the variable's value and ``$$`` a ``$``; an unknown name stays as it is."""

    def replace(found: re.Match[str]) -> str:
        name = found.group(1)
        return "$" if name is None else variables.get(name, found.group())

    return _REFERENCE.sub(replace, text)


def command_of(container: Json, entrypoint: Sequence[str], variables: Mapping[str, str]) -> Sequence[str]:
    """What is to run: the container's command or the image's, and the container's arguments."""
    parts = [*(container.get("command") or entrypoint), *container.get("args", ())]
    return [expand(part, variables) for part in parts]


async def variables_of(pod: Json, container: Json, address: str, find: Lookup) -> dict[str, str]:
    """The variables that a container's ``envFrom`` and ``env`` ask for, later ones over earlier ones.

    Args:
        address: The pod's address.

    Raises:
        ConfigError: A ConfigMap, a Secret or a key is missing.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        kind = "configMap" if "configMapRef" in source else "secret"
        found = await _data(kind, source[f"{kind}Ref"], find)
        variables |= {source.get("prefix", "") + key: value for key, value in (found or {}).items()}
    for entry in container.get("env", ()):
        value = await _value(entry, pod, address, variables, find)
        if value is not None:
            variables[entry["name"]] = value
    return variables


async def _value(
    entry: Json, pod: Json, address: str, variables: Mapping[str, str], find: Lookup
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value", ""), variables)
    if "fieldRef" in source:
        return _field(source["fieldRef"]["fieldPath"], pod, address)
    for kind in _KINDS:
        if reference := source.get(f"{kind}KeyRef"):
            return await _key(kind, reference, pod, find)
    message = f"the rig's kubelet does not know where {entry['name']} is from: {source}"
    raise ConfigError(message)


async def _key(kind: str, reference: Json, pod: Json, find: Lookup) -> str | None:
    """One value of a ConfigMap or Secret; None where it is missing and may be."""
    found = await _data(kind, reference, find)
    if found is not None and reference["key"] in found:
        return found[reference["key"]]
    if reference.get("optional"):
        return None
    where = f"{_KINDS[kind][2]} {pod['metadata']['namespace']}/{reference['name']}"
    message = f"couldn't find key {reference['key']} in {where}"
    raise ConfigError(message)


async def _data(kind: str, reference: Json, find: Lookup) -> Mapping[str, str] | None:
    """What a ConfigMap or Secret holds; None where it is missing and may be."""
    plural, word, _ = _KINDS[kind]
    found = await find(plural, reference["name"])
    if found is None:
        if reference.get("optional"):
            return None
        message = f'{word} "{reference["name"]}" not found'
        raise ConfigError(message)
    data: Mapping[str, str] = found.get("data") or {}
    if kind == "configMap":
        return data
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _field(path: str, pod: Json, address: str) -> str:
    """A field of the pod; its address is the one that its process can listen on."""
    if path in ("status.podIP", "status.podIPs"):
        return local_address(address)
    if path == "status.hostIP":
        return "127.0.0.1"
    if subscript := _SUBSCRIPT.fullmatch(path):
        return str(pod["metadata"].get(subscript.group(1), {}).get(subscript.group(2), ""))
    part, _, name = path.partition(".")
    return str(pod[part].get(name, ""))
