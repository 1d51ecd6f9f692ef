"""One namespace of a Kubernetes cluster: read, apply, compare-and-set, delete, and ask what is allowed.

Objects are plain dictionaries, as the API server has them in JSON. Every call has a time limit,
and raises Davy's errors only (`tasks.cluster.errors`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from kubernetes.client import ApiClient
from kubernetes.dynamic import DynamicClient

from tasks.cluster.again import CONNECT, made_again
from tasks.cluster.discovery import Discovery
from tasks.cluster.errors import FAILURES, mapped, status_of
from tasks.cluster.kinds import ACCESS_REVIEW, POD, Kind
from tasks.cluster.labels import EPOCH, MANAGER
from tasks.cluster.ownership import applied_by_others
from tasks.domain.errors import GoneError, LeaseLostError, PermanentError, TransientError
from tasks.domain.model import Lease

Json = dict[str, Any]

ATTEMPTS = 8
"""How often an object is read and written again that others write at the same time."""


class Cluster:
    """One namespace; a value that may be shared between threads."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._api = api
        self._client = DynamicClient(api, discoverer=lambda _client, _cache: None)  # type: ignore[no-untyped-call]
        self._discovery = Discovery(self._client)

    def subject(self, kind: Kind, name: str) -> str:
        """How messages name an object: ``Kind/namespace/name``."""
        return "/".join(filter(None, (kind.name, self.namespace if kind.namespaced else "", name)))

    def knows(self, kind: Kind) -> bool:
        """Whether the server has this kind of object, in a version that Davy understands.

        Raises:
            TransientError: It does not answer; retried.
        """
        return self._discovery.find(kind) is not None

    def read(self, kind: Kind, name: str) -> Json | None:
        """An object as it is now; None when there is none.

        Raises:
            TransientError: The server does not answer; retried.
            PermanentError: Not allowed; not retried.
        """
        return self._call(kind, name, "get", name=name, missing_ok=True)

    def need(self, kind: Kind, name: str) -> Json:
        """An object that must be there.

        Raises:
            GoneError: It is not; not retried.
            TransientError: The server does not answer; retried.
        """
        found = self.read(kind, name)
        if found is None:
            msg = f"{self.subject(kind, name)}: found none, expected it to be there"
            raise GoneError(msg)
        return found

    def list(self, kind: Kind, labels: Mapping[str, str] | None = None) -> list[Json]:
        """The namespace's objects of a kind, only those that have *labels*; none where the kind is unknown.

        Raises:
            TransientError: The server does not answer; retried.
            PermanentError: Not allowed; not retried.
        """
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        found = self._call(kind, "", "get", label_selector=selector or None, missing_ok=True)
        # Lists leave out what their items are.
        said = {"apiVersion": found.get("apiVersion", ""), "kind": kind.name} if found else {}
        return [said | item for item in (found or {}).get("items") or []]

    def apply(self, kind: Kind, wanted: Json, *, dry_run: bool = False) -> Json:
        """Server-side apply as `MANAGER`; *wanted* has every field that Davy has an opinion on, and no other.

        With a ``resourceVersion`` it is refused where the object has changed since. Fields that
        somebody else has only edited are taken over; those that another tool *applies* are its own.

        Raises:
            PermanentError: Another tool applies a field differently, or the object is refused; not retried.
            TransientError: The object has changed, or the server does not answer; retried.
        """
        name = wanted["metadata"]["name"]
        body = {"apiVersion": self.api_version(kind), "kind": kind.name} | wanted
        options: Json = {"name": name, "body": body, "field_manager": MANAGER, "subject": name}
        options |= {"dry_run": "All"} if dry_run else {}
        try:
            return self._must(kind, "server_side_apply", **options)
        except TransientError as error:
            owners = applied_by_others(error.__cause__)
            if owners is None:
                raise
            if owners:
                msg = (
                    f"{self.subject(kind, name)}: found {owners}, expected to be left to Davy: "
                    "take it out of what that tool applies"
                )
                raise PermanentError(msg) from error
        return self._must(kind, "server_side_apply", force_conflicts=True, **options)

    def change(
        self,
        kind: Kind,
        name: str,
        edit: Callable[[Json], Json | None],
        lease: Lease | None = None,
        *,
        epoch: str = EPOCH,
    ) -> Json:
        """Compare-and-set: read the object, let *edit* build what it should be, write that.

        It is read and edited again where somebody else has written it in between.

        Args:
            edit: Pure; gives None (or the same) where nothing is to be changed.
            lease: Checked right before the write.
            epoch: The annotation that says under which lease it was last written.

        Returns:
            The object as it is now.

        Raises:
            GoneError: There is no such object; not retried.
            TransientError: Others kept writing it, or the server does not answer; retried.
            LeaseLostError: It was last written under a newer lease; not retried.
        """
        for _ in range(ATTEMPTS):
            found = self.need(kind, name)
            refuse_newer(found, lease, self.subject(kind, name), epoch)
            wanted = edit(deepcopy(found))
            if wanted is None or wanted == found:
                return found
            if lease:
                lease.check()
            try:
                return self._must(kind, "replace", body=wanted, field_manager=MANAGER, subject=name)
            except TransientError as error:
                if status_of(error.__cause__) != HTTPStatus.CONFLICT:
                    raise
        msg = f"{self.subject(kind, name)}: written by others {ATTEMPTS} times, expected a turn"
        raise TransientError(msg)

    def create(self, kind: Kind, wanted: Json) -> Json:
        """Create an object that is not there yet.

        Raises:
            TransientError: It is there by now, or the server does not answer; retried.
            PermanentError: It is refused; not retried.
        """
        name = wanted["metadata"]["name"]
        body = {"apiVersion": self.api_version(kind), "kind": kind.name} | wanted
        return self._must(kind, "create", body=body, field_manager=MANAGER, subject=name)

    def delete(self, kind: Kind, name: str, found: Json | None = None) -> None:
        """Delete an object, and in the background all that it owns. Nothing there is no error.

        Args:
            found: The object as it was read: only that is deleted, and nothing that was written since.

        Raises:
            TransientError: It was written since, or the server does not answer; retried.
        """
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if found:
            body["preconditions"] = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
        self._call(kind, name, "delete", name=name, body=body, missing_ok=True)

    def refuses(self, verb: str, kind: Kind, subresource: str = "") -> str:
        """Why *verb* is not allowed here, in the server's words; empty where it is.

        Raises:
            TransientError: The server does not answer; retried.
        """
        asked = {"namespace": self.namespace, "verb": verb, "group": kind.group, "resource": kind.plural}
        asked |= {"subresource": subresource} if subresource else {}
        review = {"kind": ACCESS_REVIEW.name, "apiVersion": self.api_version(ACCESS_REVIEW)}
        body = review | {"spec": {"resourceAttributes": asked}}
        status = self._must(ACCESS_REVIEW, "create", body=body, subject=f"{verb} {kind.plural}")["status"]
        return "" if status.get("allowed") else str(status.get("reason") or "no role allows it")

    def ask_pod(self, pod: str, port: int, path: str, timeout: float) -> int:
        """The status with which a pod answers ``GET path``, asked through the API server.

        Raises:
            TransientError: It does not answer; retried.
            PermanentError: Not allowed; not retried.
        """
        resource = self._discovery.need(POD)
        url = resource.path(  # type: ignore[no-untyped-call]
            name=f"{quote(pod)}:{port}", namespace=self.namespace
        )
        try:
            answer = self._client.request(
                "get", f"{url}/proxy{path}", serialize=False, _request_timeout=(CONNECT, timeout)
            )
        except FAILURES as error:
            if _is_the_pods_own(error):
                return status_of(error)
            raise mapped(error, self.subject(POD, pod), f"ask for {path}") from error
        return int(answer.status)

    def api_version(self, kind: Kind) -> str:
        """``group/version`` as the server has it.

        Raises:
            InputError: The server does not have this kind; not retried.
            TransientError: It does not answer; retried.
        """
        return "/".join(filter(None, (kind.group, self._discovery.need(kind).api_version)))

    def _must(self, kind: Kind, verb: str, *, subject: str = "", **options: Any) -> Json:  # noqa: ANN401
        found = self._call(kind, subject, verb, **options)
        if found is None:
            msg = f"{self.subject(kind, subject)}: found none, expected it to be there"
            raise GoneError(msg)
        return found

    def _call(
        self,
        kind: Kind,
        subject: str,
        verb: str,
        *,
        missing_ok: bool = False,
        **options: Any,  # noqa: ANN401 - whatever the verb takes
    ) -> Json | None:
        """One call; None for an object, or a kind, that is not there."""
        if missing_ok and not self.knows(kind):
            return None
        options |= {"namespace": self.namespace} if kind.namespaced else {}
        call = partial(getattr(self._client, verb), self._discovery.need(kind), serialize=False, **options)
        try:
            content: Json = json.loads(made_again(call).data)
        except FAILURES as error:
            if status_of(error) == HTTPStatus.NOT_FOUND:
                return None
            said = "list" if verb == "get" and not subject else _in_words(verb)
            raise mapped(error, self.subject(kind, subject), said) from error
        return content


def refuse_newer(found: Json, lease: Lease | None, subject: str, key: str = EPOCH) -> None:
    """Make sure that no newer carrier has written *found*: it may go on where this one may not.

    Args:
        key: The annotation that says under which lease it was last written.

    Raises:
        LeaseLostError: One has; not retried.
    """
    epoch = int(annotations_of(found).get(key, 0))
    if lease and epoch > lease.epoch:
        msg = f"{subject}: found it written under epoch {epoch}, expected at most {lease.epoch}"
        raise LeaseLostError(msg)


def annotations_of(found: Json) -> dict[str, str]:
    """An object's annotations."""
    return found["metadata"].get("annotations") or {}


def labels_on(found: Json) -> dict[str, str]:
    """An object's labels."""
    return found["metadata"].get("labels") or {}


def _in_words(verb: str) -> str:
    return {"server_side_apply": "patch", "replace": "update"}.get(verb, verb)


def _is_the_pods_own(error: BaseException) -> bool:
    """The pod's answer, and not the API server's about it, which is a ``Status`` object."""
    if not status_of(error):
        return False
    try:
        return bool(json.loads(getattr(error, "body", "") or "")["kind"] != "Status")
    except (ValueError, KeyError, TypeError):
        return True
