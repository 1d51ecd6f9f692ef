"""A mesh's objects from an API server: listed, then watched, each kind of each namespace in a thread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from threading import Event, Lock, Thread
from typing import Any, Self

import urllib3
from kubernetes.client import ApiClient, ApiException

from tests.rig.cluster.mesh_source import Held, kinds_for
from tests.rig.cluster.translate_base import Entry, Json

_PATHS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Service": (("v1",), "services"),
    "Pod": (("v1",), "pods"),
    "EndpointSlice": (("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"), "endpointslices"),
    "Ingress": (("networking.k8s.io/v1",), "ingresses"),
    "VirtualService": (("networking.istio.io/v1", "networking.istio.io/v1beta1"), "virtualservices"),
    "DestinationRule": (("networking.istio.io/v1", "networking.istio.io/v1beta1"), "destinationrules"),
    "IstioGateway": (("networking.istio.io/v1", "networking.istio.io/v1beta1"), "gateways"),
    "HTTPRoute": (("gateway.networking.k8s.io/v1",), "httproutes"),
    "GRPCRoute": (("gateway.networking.k8s.io/v1",), "grpcroutes"),
    "Gateway": (("gateway.networking.k8s.io/v1",), "gateways"),
}
"""By kind, the versions of its group that will do, best first, and its name in paths."""
_PAUSE = 0.2
"""Seconds after what has failed."""
_LONGEST = 30
"""Seconds of one watch."""
_MERGE = {"Content-Type": "application/merge-patch+json"}
_TIMEOUT = (5, 2 * _LONGEST)
"""Seconds to connect, and of silence."""


class _Gone(Exception):  # noqa: N818 - HTTP's own name for it
    """The server no longer knows the version from which to watch."""


_FAILURES = (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError, _Gone)


class ApiSource(Held):
    """What the entries' namespaces hold."""

    def __init__(self, api: ApiClient, entries: Iterable[Entry]) -> None:
        super().__init__()
        entries = list(entries)
        self._api = api
        self._over = Event()
        self._lock = Lock()
        self._open: set[urllib3.HTTPResponse] = set()
        self._listed: list[Event] = []
        self._threads: list[Thread] = []
        for namespace in sorted({entry.namespace for entry in entries}):
            kinds = kinds_for(entry for entry in entries if entry.namespace == namespace)
            for kind in kinds:
                listed = Event()
                self._listed.append(listed)
                self._threads.append(Thread(target=self._follow, args=(kind, namespace, listed)))

    def __enter__(self) -> Self:
        self._served = self._served_versions()
        for thread in self._threads:
            thread.start()
        for listed in self._listed:
            listed.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock:
            for response in self._open:
                response.shutdown()
        for thread in self._threads:
            thread.join()

    def write_status(self, one: Json, status: Json) -> None:
        """See `mesh_source.Source.write_status`; what fails for now is left to the next look.

        Raises:
            ApiException: The server does not take it; not retried.
        """
        about = one["metadata"]
        path = f"{self._path(one['kind'], about['namespace'])}/{about['name']}/status"
        try:
            self._ask("PATCH", path, {"status": status}).read()
        except _FAILURES as error:
            code = error.status if isinstance(error, ApiException) else 503
            if code in (400, 401, 403, 415, 422):
                raise
            if code != 404:
                self._over.wait(_PAUSE)
                self.tell()

    def _served_versions(self) -> set[str]:
        groups = json.loads(self._ask("GET", "/apis").data)["groups"]
        return {"v1"} | {each["groupVersion"] for group in groups for each in group["versions"]}

    def _path(self, kind: str, namespace: str) -> str:
        versions, plural = _PATHS[kind]
        version = next((one for one in versions if one in self._served), versions[0])
        root = "/api" if version == "v1" else "/apis"
        return f"{root}/{version}/namespaces/{namespace}/{plural}"

    def _follow(self, kind: str, namespace: str, listed: Event) -> None:
        """List and watch until it is over; what fails is begun anew."""
        while not self._over.is_set():
            try:
                version = self._list(kind, namespace)
                listed.set()
                while not self._over.is_set():
                    version = self._watch(kind, namespace, version)
            except _FAILURES:
                listed.set()
                self._over.wait(_PAUSE)

    def _list(self, kind: str, namespace: str) -> str:
        found = json.loads(self._ask("GET", self._path(kind, namespace)).data)
        for one in found["items"]:
            one.setdefault("kind", kind.removeprefix("Istio"))
        self.replace(kind, namespace, found["items"])
        version: str = found["metadata"]["resourceVersion"]
        return version

    def _watch(self, kind: str, namespace: str, version: str) -> str:
        """Take in what changes; the version that is known at the watch's end."""
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={_LONGEST}&allowWatchBookmarks=1"
        response = self._ask("GET", f"{self._path(kind, namespace)}?{query}")
        with self._lock:
            self._open.add(response)
            if self._over.is_set():
                response.shutdown()
        try:
            for event in _lines(response):
                one = event["object"]
                if event["type"] == "ERROR":
                    raise _Gone(one.get("message", ""))
                version = one["metadata"]["resourceVersion"]
                if event["type"] in ("ADDED", "MODIFIED"):
                    self.hold(kind, one)
                elif event["type"] == "DELETED":
                    self.drop(kind, one)
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()
        return version

    def _ask(self, method: str, path: str, body: Json | None = None) -> urllib3.HTTPResponse:
        headers: dict[str, str] = {"Accept": "application/json"} | (_MERGE if body else {})
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        answer: urllib3.HTTPResponse = self._api.call_api(
            method, url, headers, body, _request_timeout=_TIMEOUT
        ).response
        if answer.status >= 400:
            raise ApiException(http_resp=answer)
        return answer


def _lines(response: urllib3.HTTPResponse) -> Iterator[Any]:
    rest = b""
    for piece in response.stream(amt=None):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)
