"""The few calls that the command line makes to Prefect's server, over its REST API."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from tasks.domain.errors import InputError, PermanentError, TransientError
from tasks.domain.secrets import Hidden
from tasks.domain.settings import settings

PATIENCE = timedelta(seconds=150)
"""How long a server that is being restarted, or answers 503, is asked again: longer than its writers wait for
each other in SQLite, which may be as long as `environment` lets them."""

TAG = "davy-release"
"""Tag of every release's flow run; the compensating automations listen for it."""
MADE = "davy-deploy"
"""Tag of every deployment that `davy deploy` made; the runner of releases serves those without a pool."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run as the server knows it.

    Attributes:
        type: ``SCHEDULED``, ``RUNNING``, ``COMPLETED``, ``FAILED``, ``CRASHED``, ``CANCELLED`` ...
        state: The state's name, such as ``Promoted``.
    """

    id: str
    type: str
    state: str
    message: str

    @property
    def over(self) -> bool:
        """It will not change any more, unless somebody retries it."""
        return self.type in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def server_url() -> str:
    """Where Prefect's server and UI answer."""
    return settings().prefect_url.rstrip("/") or f"http://127.0.0.1:{settings().prefect_port}"


def api_url() -> str:
    """Where Prefect's API answers."""
    return f"{server_url()}/api"


def run_url(run: str) -> str:
    """The page of a flow run, as people open it."""
    return f"{settings().ui_url.rstrip('/') or server_url()}/v2/runs/flow-run/{run}"


def credentials() -> httpx.BasicAuth | None:
    """What Prefect's server is to be shown, from ``PREFECT_API_AUTH_STRING``; None where that is not set.

    Raises:
        InputError: It is no user and password; it is not shown; not retried.
    """
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    if not colon and user:
        raise InputError("PREFECT_API_AUTH_STRING", Hidden(), "user:password")
    return httpx.BasicAuth(user, password) if colon else None


def environment() -> dict[str, str]:
    """What every process that uses Prefect must have in its environment, before it imports it."""
    home = settings().root / "prefect"
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api_url(),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite's writers wait for each other
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        "MALLOC_ARENA_MAX": "2",  # threads with a heap each make a server half as large again
        "DAVY_HOME": str(settings().root),
    }


def is_healthy() -> bool:
    """Whether the server answers now."""
    try:
        return httpx.get(f"{api_url()}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def has_deployment(name: str) -> bool:
    """Whether a runner has registered the deployment (``canary/davy``)."""
    try:
        answer = httpx.get(f"{api_url()}/deployments/name/{name}", timeout=5, auth=credentials())
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK


def create_run(deployment: str, parameters: dict[str, Any], *, key: str) -> FlowRun:
    """Ask for a run of a deployment; the same key never makes two runs.

    Raises:
        PermanentError: The server refuses it (unknown deployment, parameters); not retried.
        TransientError: The server stayed away; retried by the caller, with the same key.
    """
    found = _call("GET", f"/deployments/name/{deployment}")
    body = {"parameters": parameters, "idempotency_key": key}
    return _flow_run(_call("POST", f"/deployments/{found['id']}/create_flow_run", body))


def read_run(run: str) -> FlowRun:
    """A flow run's state now.

    Raises:
        TransientError: The server stayed away; retried by the caller.
    """
    return _flow_run(_call("GET", f"/flow_runs/{run}"))


def deployments_tagged(tag: str) -> list[dict[str, Any]]:
    """Every deployment that has the tag, as the server has it, with the name of its flow as ``flow``.

    Raises:
        TransientError: The server stayed away; retried by the caller.
    """
    found: list[dict[str, Any]] = []
    while True:
        body = {"deployments": {"tags": {"all_": [tag]}}, "sort": "NAME_ASC", "offset": len(found)}
        page = _call("POST", "/deployments/filter", body)
        found += page
        if not page:
            break
    flows = {one["flow_id"] for one in found}
    names = {flow: _call("GET", f"/flows/{flow}")["name"] for flow in flows}
    return [one | {"flow": names[one["flow_id"]]} for one in found]


def read_deployment(flow: str, name: str) -> dict[str, Any] | None:
    """A deployment as the server has it, with the name of its flow as ``flow``; None where there is none.

    Raises:
        TransientError: The server stayed away; retried by the caller.
    """
    named = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
    found = _call("POST", "/deployments/filter", named)
    return found[0] | {"flow": flow} if found else None


def write_deployment(flow: str, content: dict[str, Any]) -> str:
    """Make a deployment of a flow, or bring the one of that name to *content*; safe to repeat.

    Returns:
        Its id.

    Raises:
        PermanentError: The server refuses it; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    made = _call("POST", "/flows/", {"name": flow})
    return str(_call("POST", "/deployments/", content | {"flow_id": made["id"]})["id"])


def delete_deployment(deployment: str) -> None:
    """Remove a deployment by its id; its runs so far stay.

    Raises:
        PermanentError: There is none; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    _call("DELETE", f"/deployments/{deployment}")


def work_pools() -> list[str]:
    """The names of all work pools.

    Raises:
        TransientError: The server stayed away; retried by the caller.
    """
    return sorted(one["name"] for one in _call("POST", "/work_pools/filter", {}))


def deployment_url(deployment: str) -> str:
    """The page of a deployment."""
    return f"{server_url()}/v2/deployments/deployment/{deployment}"


def _flow_run(answer: dict[str, Any]) -> FlowRun:
    state = answer.get("state") or {}
    return FlowRun(answer["id"], state.get("type", ""), state.get("name", ""), state.get("message") or "")


def _refusal(method: str, path: str, answer: httpx.Response) -> str:
    """What the server does not do; its words on who asks are left out, since they may repeat what it was shown."""
    msg = f"Prefect's server: {method} {path} answered {answer.status_code}"
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"{msg}, expected PREFECT_API_AUTH_STRING to be the one that it asks for"
    return f"{msg}: {answer.text[:400]}"


def _call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - the server's
    deadline = time.monotonic() + PATIENCE.total_seconds()
    auth = credentials()
    while True:
        trouble: str
        try:
            answer = httpx.request(method, f"{api_url()}{path}", json=body, timeout=10, auth=auth)
            if answer.is_success:
                return answer.json() if answer.content else None
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                raise PermanentError(_refusal(method, path, answer))
            trouble = f"answered {answer.status_code}"
        except ValueError as error:
            msg = f"port {settings().prefect_port}: found something that is not Prefect's server, expected it"
            raise PermanentError(msg) from error
        except httpx.HTTPError as error:
            trouble = f"gave {type(error).__name__}"
        if time.monotonic() > deadline:
            msg = f"Prefect's server: {method} {path} {trouble}, expected an answer from {api_url()}"
            raise TransientError(msg)
        time.sleep(0.5)
