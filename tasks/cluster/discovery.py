"""Which of Davy's kinds of objects a server has, and in which version."""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus

from kubernetes.dynamic import DynamicClient, Resource

from tasks.cluster.again import made_again
from tasks.cluster.errors import FAILURES, mapped, status_of
from tasks.cluster.kinds import Kind
from tasks.domain.errors import InputError


class Discovery:
    """What one server has; a kind is asked for until it is there, and then never again."""

    def __init__(self, client: DynamicClient) -> None:
        self._client = client
        self._resources: dict[Kind, Resource] = {}

    def need(self, kind: Kind) -> Resource:
        """Where a kind is served.

        Raises:
            InputError: The server does not have it; not retried.
            TransientError: It does not answer; retried.
        """
        found = self.find(kind)
        if found is None:
            asked = " or ".join(f"{kind.group}/{one}" for one in kind.versions)
            raise InputError("cluster", f"no {kind}", f"a server that has {kind} in {asked}")
        return found

    def find(self, kind: Kind) -> Resource | None:
        """Likewise, in the best version that both sides know; None where there is none.

        Raises:
            TransientError: The server does not answer; retried.
        """
        if kind in self._resources:
            return self._resources[kind]
        for version in kind.versions:
            if not kind.group or kind.plural in self._plurals(kind.group, version):
                self._resources[kind] = self._resource(kind, version)
                return self._resources[kind]
        return None

    def _resource(self, kind: Kind, version: str) -> Resource:
        return Resource(  # type: ignore[no-untyped-call]
            prefix="apis" if kind.group else "api",
            group=kind.group,
            api_version=version,
            kind=kind.name,
            namespaced=kind.namespaced,
            verbs=[],
            name=kind.plural,
            client=self._client,
        )

    def _plurals(self, group: str, version: str) -> set[str]:
        try:
            path = f"/apis/{group}/{version}"
            answer = made_again(partial(self._client.request, "get", path, serialize=False))
        except FAILURES as error:
            if status_of(error) == HTTPStatus.NOT_FOUND:
                return set()
            raise mapped(error, f"{group}/{version}", "get") from error
        return {resource["name"] for resource in json.loads(answer.data)["resources"]}
