"""Nobody comes in without a credential: Prefect's server, the merge steps and both pages as their manifests say."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from deployments import prefect_api
from deployments.webhook_settings import WebhookSettings, sign
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.settings import Settings, settings
from tests.deployments.test_webhooks_pipelines import step
from tests.infra.pods import environment_of, running
from tests.infra.test_kubernetes import DAVYS, SECRET, Object, documents, found, name_of, pod_of, values_of
from tests.infra.test_kubernetes import FOLDER as MANIFESTS
from tests.rig.engine import migrated_database

PASSWORD = secrets.token_hex(16)
RIGHT, WRONG = f"davy:{PASSWORD}", f"davy:{PASSWORD[::-1]}"
OWN = ("canary/davy", "canary/shop")
AUTH = "PREFECT_API_AUTH_STRING"


def values_of_the_secret(folder: Path) -> dict[str, str]:
    """What the Secret holds, each with a value of its own; the database is a file."""
    keys = documents(MANIFESTS / "examples" / "secrets.yaml")[0]["stringData"]
    own = {"auth-string": RIGHT, "database-url": f"sqlite+aiosqlite:///{folder / 'prefect.db'}"}
    return {key: secrets.token_hex(16) for key in keys} | own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prefect's server as its manifest runs it, with two deployments; its address."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    workload = found("Deployment")["prefect-server"]
    shutil.copy(migrated_database(tmp_path_factory), folder / "prefect.db")
    with running(workload, folder, port, values_of_the_secret(folder)) as url:
        for name in OWN:
            flow, deployment = name.split("/")
            made = ask(url, "flows/", {"name": flow}, RIGHT).json()["id"]
            asked = {"name": deployment, "flow_id": made, "enforce_parameter_schema": False}
            assert ask(url, "deployments/", asked, RIGHT).is_success
        yield url


def ask(url: str, path: str, body: object, credential: str | None) -> httpx.Response:
    """One request to Prefect's API."""
    auth = httpx.BasicAuth(*credential.split(":")) if credential else None
    return httpx.post(f"{url}/api/{path}", json=body, auth=auth, timeout=20)


@pytest.fixture
def davy(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Davy's own calls go to that server."""
    del home
    monkeypatch.setenv("DAVY_PREFECT_URL", server)
    settings.cache_clear()
    return monkeypatch


@pytest.mark.parametrize(
    ("credential", "status"), [(None, 401), (WRONG, 401), (RIGHT, 200)], ids=["none", "wrong", "right"]
)
@pytest.mark.parametrize("path", ["flow_runs/filter", "deployments/filter", "block_documents/filter"])
def test_prefects_server_asks_everybody_for_the_credential(
    server: str, path: str, credential: str | None, status: int
) -> None:
    answer = ask(server, path, {}, credential)
    assert (answer.status_code, PASSWORD in answer.text) == (status, False)


def test_davys_own_calls_show_the_credential(davy: pytest.MonkeyPatch) -> None:
    davy.setenv(AUTH, RIGHT)
    assert prefect_api.has_deployment("canary/davy")
    run = prefect_api.create_run("canary/davy", {}, key="r1")
    assert prefect_api.read_run(run.id).type == "SCHEDULED"


@pytest.mark.parametrize("credential", [None, WRONG], ids=["none", "wrong"])
def test_a_refused_call_says_what_is_wrong_and_not_the_credential(
    davy: pytest.MonkeyPatch, credential: str | None
) -> None:
    davy.delenv(AUTH, raising=False)
    if credential:
        davy.setenv(AUTH, credential)
    assert prefect_api.is_healthy()
    assert not prefect_api.has_deployment("canary/davy")
    expected = f"deployments/name/canary/davy answered 401, expected {AUTH} to be the one that it asks for"
    with pytest.raises(PermanentError, match=expected) as error:
        prefect_api.create_run("canary/davy", {}, key="r2")
    assert WRONG.partition(":")[2] not in f"{error.value!r} {error.value.__cause__!r}"


def test_a_credential_without_a_user_is_refused_before_anything_is_asked(davy: pytest.MonkeyPatch) -> None:
    davy.setenv(AUTH, PASSWORD)
    with pytest.raises(InputError, match=rf"{AUTH}: .*expected user:password") as error:
        prefect_api.read_run("r1")
    assert PASSWORD not in f"{error.value!r}"


@pytest.mark.parametrize("name", ["github-actions", "gitlab-ci"])
@pytest.mark.parametrize("credential", [RIGHT, WRONG], ids=["right", "wrong"])
def test_pipelines_show_the_credential(server: str, name: str, credential: str) -> None:
    shell, script, variables = step(name)
    own = {"PREFECT_API_URL": f"{server}/api", AUTH: credential, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    command = [shell, "-c", script]
    done = subprocess.run(
        command, env=own | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode == 0) == (credential == RIGHT), done.stderr
    assert done.stdout.startswith("flow run ") if credential == RIGHT else "401" in done.stderr
    assert credential.partition(":")[2] not in done.stdout + done.stderr


def from_secret(workload: Object) -> dict[str, tuple[str, str]]:
    """Which variables of a workload come from which Secret and key."""
    env = pod_of(workload)["containers"][0]["env"]
    refs = {one["name"]: list(values_of(one, "secretKeyRef")) for one in env if isinstance(one, Mapping)}
    return {name: (ref[0]["name"], ref[0]["key"]) for name, ref in refs.items() if ref}


def may_reach_prefect(workload: Object) -> bool:
    """Whether the server's network policy lets its pods in."""
    (rule,) = found("NetworkPolicy")["prefect-server"]["spec"]["ingress"]
    (roles,) = values_of(rule, "matchExpressions")
    assert [one["key"] for one in roles] == ["davy/role"]
    return workload["spec"]["template"]["metadata"]["labels"].get("davy/role") in roles[0]["values"]


@pytest.mark.parametrize("workload", [one for one in DAVYS if one["kind"] != "Job"], ids=name_of)
def test_whoever_may_reach_prefect_has_its_credential_and_nobody_else(workload: Object) -> None:
    given = from_secret(workload)
    assert given.get(AUTH) == ((SECRET, "auth-string") if may_reach_prefect(workload) else None)
    is_server = name_of(workload) == "Deployment/prefect-server"
    assert given.get("PREFECT_SERVER_API_AUTH_STRING") == ((SECRET, "auth-string") if is_server else None)


def test_programs_that_use_prefect_may_reach_it() -> None:
    assert {name_of(one).partition("/")[2] for one in DAVYS if may_reach_prefect(one)} == {
        "davy",  # the work pool's jobs
        "davy-releases",
        "davy-way-back",
        "davy-watcher",
        "davy-webhooks",
        "davy-worker",
    }


def test_jobs_get_the_credential_by_the_secrets_name() -> None:
    (worker,) = [one for one in DAVYS if name_of(one) == "Deployment/davy-worker"]
    said, prefix = (
        environment_of(worker, {"auth-string": RIGHT}),
        "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API",
    )
    assert said[f"{prefix}_AUTH_STRING_SECRET_NAME"] == SECRET
    assert said[f"{prefix}_AUTH_STRING_SECRET_KEY"] == "auth-string"


def test_the_key_of_links_is_where_links_are_made_and_read() -> None:
    key = Path(found("ConfigMap")["davy-settings"]["data"]["DAVY_APPROVALS_KEY_FILE"])
    having = set()
    for workload in DAVYS:
        pod = pod_of(workload)
        volumes = {one["name"]: one.get("secret", {}).get("items", []) for one in pod["volumes"]}
        for mount in pod["containers"][0]["volumeMounts"]:
            for item in volumes.get(mount["name"], []):
                if Path(mount["mountPath"]) / item["path"] == key:
                    assert (item["key"], mount["readOnly"]) == ("approvals-key", True)
                    having.add(name_of(workload).partition("/")[2])
    assert having == {"davy", "davy-approvals", "davy-releases", "davy-watcher", "davy-way-back"}


def test_the_approvals_page_takes_only_links_signed_with_the_key(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    workload, port = found("Deployment")["davy-approvals"], free_port()
    assert list(values_of(workload, "containerPort")) == [Settings.model_fields["approvals_port"].default]
    changes = {"DAVY_APPROVALS_HOST": "127.0.0.1", "DAVY_APPROVALS_PORT": str(port)}
    with running(workload, tmp_path, port, values_of_the_secret(tmp_path), **changes) as url:
        answer = httpx.get(f"{url}/approve/forged", timeout=20)
    assert (answer.status_code, "not signed here" in answer.text) == (400, True)
    assert not (tmp_path / "state" / "approvals.key").exists(), (
        "a key of its own: nobody else's links would open"
    )


def test_the_receiver_takes_only_events_signed_with_the_mounted_secrets(
    tmp_path: Path, free_port: Callable[[], int], server: str
) -> None:
    known = values_of_the_secret(tmp_path)
    workload, port = found("Deployment")["davy-webhooks"], free_port()
    own = {"PREFECT_API_URL": f"{server}/api", "DAVY_PREFECT_URL": server}
    body = json.dumps({"repository": "org/shop", "branch": "main", "sha": "1" * 40, "version": "1"}).encode()
    moment = str(int(time.time()))
    with running(workload, tmp_path, port, known, **own) as url:
        for sender, key in (("github", "webhook-gitlab-token"), ("generic", "webhook-generic-secret")):
            signed = sign(known[key].encode(), f"d1.{moment}.".encode() + body).decode()
            headers = {"X-Davy-Delivery": "d1", "X-Davy-Timestamp": moment, "X-Davy-Signature": signed}
            headers |= {"X-Hub-Signature-256": sign(known[key].encode(), body).decode()}
            headers |= {"X-GitHub-Event": "push", "Content-Type": "application/json"}
            answer = httpx.post(f"{url}/{sender}", content=body, headers=headers, timeout=20)
            assert answer.status_code == (200 if sender == "generic" else 401), answer.text


def test_the_receivers_settings_are_ones_that_it_has() -> None:
    said = environment_of(found("Deployment")["davy-webhooks"], {"auth-string": RIGHT})
    own = {name.removeprefix("DAVY_WEBHOOK_").lower() for name in said if name.startswith("DAVY_WEBHOOK_")}
    assert own == {"github_secret_file", "gitlab_token_file", "generic_secret_file"}
    assert own <= WebhookSettings.model_fields.keys()
