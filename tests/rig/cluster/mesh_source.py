"""Where a mesh's objects come from: a dictionary, or an API server that is watched."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from threading import Condition
from typing import Protocol, Self

from tests.rig.cluster.translate_base import Entry, Json, Objects

CLUSTER = ("Service", "EndpointSlice", "Pod")
KINDS = {
    "istio": (*CLUSTER, "VirtualService", "DestinationRule", "IstioGateway"),
    "gateway": (*CLUSTER, "HTTPRoute", "GRPCRoute", "Gateway"),
    "ingress": (*CLUSTER, "Ingress"),
    "service": CLUSTER,
}
"""Which objects matter, by the kind of an entry."""


class Source(Protocol):
    """Objects as they stand now."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def snapshot(self) -> Objects:
        """By kind, all that is known; never changed afterwards."""
        ...

    def wait(self, seconds: float) -> bool:
        """Until something may differ from the last snapshot, but no longer than that; whether it may."""
        ...

    def write_status(self, one: Json, status: Json) -> None:
        """Say what a controller has to say of an object; one that has gone meanwhile is left alone."""
        ...


def kind_of(one: Json) -> str:
    """Its kind; Istio's Gateway has a name of its own here."""
    kind: str = one["kind"]
    is_istios = one.get("apiVersion", "").startswith("networking.istio.io/")
    return f"Istio{kind}" if kind == "Gateway" and is_istios else kind


def kinds_for(entries: Iterable[Entry]) -> list[str]:
    """All that matter to some entry."""
    return sorted({kind for entry in entries for kind in KINDS[entry.kind]})


class Held:
    """Objects by kind, namespace and name, and whether they have changed."""

    def __init__(self) -> None:
        self._by_kind: dict[str, dict[tuple[str, str], Json]] = defaultdict(dict)
        self._news = Condition()
        self._is_new = False

    def snapshot(self) -> Objects:
        """See `Source.snapshot`."""
        with self._news:
            self._is_new = False
            return {kind: tuple(found.values()) for kind, found in self._by_kind.items()}

    def wait(self, seconds: float) -> bool:
        """See `Source.wait`."""
        with self._news:
            return self._news.wait_for(lambda: self._is_new, seconds)

    def hold(self, kind: str, one: Json) -> None:
        """Take this for what the object is now."""
        with self._news:
            self._by_kind[kind][_key(one)] = one
            self._tell()

    def drop(self, kind: str, one: Json) -> None:
        """It is gone."""
        with self._news:
            self._by_kind[kind].pop(_key(one), None)
            self._tell()

    def replace(self, kind: str, namespace: str, found: Collection[Json]) -> None:
        """These are all there are in this namespace."""
        with self._news:
            others = {key: one for key, one in self._by_kind[kind].items() if key[0] != namespace}
            self._by_kind[kind] = others | {_key(one): one for one in found}
            self._tell()

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """The object.

        Raises:
            KeyError: There is none; not retried.
        """
        with self._news:
            return self._by_kind[kind][namespace, name]

    def tell(self) -> None:
        """Have whoever waits look again."""
        with self._news:
            self._tell()

    def _tell(self) -> None:
        self._is_new = True
        self._news.notify_all()


class DictSource(Held):
    """Objects that a test sets; versions and generations are given as an API server does."""

    def __init__(self, objects: Iterable[Json] = ()) -> None:
        super().__init__()
        self._version = 0
        self.put(*objects)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def put(self, *objects: Json) -> None:
        """Create or replace."""
        for one in objects:
            self._version += 1
            old: Json = {}
            with suppress(KeyError):
                old = self.get(kind_of(one), *_key(one))
            about = old.get("metadata", {})
            changed = old.get("spec") != one.get("spec")
            own = {
                "resourceVersion": str(self._version),
                "generation": about.get("generation", 0) + changed,
                "creationTimestamp": about.get(
                    "creationTimestamp", f"2026-01-01T00:00:{len(str(self._version)):02}Z"
                ),
            }
            new = copy.deepcopy({**one, "metadata": own | one["metadata"]})
            new["metadata"] |= {"resourceVersion": own["resourceVersion"], "generation": own["generation"]}
            self.hold(kind_of(one), new)

    def delete(self, one: Json) -> None:
        """Remove."""
        self.drop(kind_of(one), one)

    def write_status(self, one: Json, status: Json) -> None:
        """See `Source.write_status`."""
        with suppress(KeyError):
            now = self.get(kind_of(one), *_key(one))
            self.put({**now, "status": status})


def _key(one: Json) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]
