"""The manifests that run Davy on Kubernetes: what they name exists, and their pods may do little."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.prefect_api import environment
from deployments.service_files import load
from tasks.domain.settings import Settings
from tests.rig.stack import ROOT

Object = dict[str, Any]

FOLDER = ROOT / "infra" / "kubernetes"
APPLIED = sorted(FOLDER.glob("*.yaml"))
"""What ``kubectl apply -f infra/kubernetes/`` takes, in its order."""
ALL = sorted(FOLDER.rglob("*.yaml"))
ELSEWHERE = ("prometheus-rules.yaml", "prefect.yaml")
"""Files that are not for Kubernetes."""
SERVICES = sorted((ROOT / "deployments" / "examples" / "kubernetes").glob("*.yaml"))
SECRET = "davy-secrets"
DIFFERENT = {"DAVY_HOME", "PREFECT_HOME", "PREFECT_API_URL", "PREFECT_SERVER_DATABASE_TIMEOUT"}
"""Settings of the embedded stack that are others here: folders, and what SQLite needs."""


def documents(path: Path) -> list[Object]:
    """The objects of one file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


@cache
def objects() -> list[Object]:
    """Every object of every manifest; read once, not to be changed."""
    return [one for path in ALL if path.name not in ELSEWHERE for one in documents(path)]


def name_of(one: Object) -> str:
    """Kind and name."""
    return f"{one['kind']}/{one['metadata']['name']}"


def job() -> Object:
    """The pod template of the work pool's jobs, with its fields not filled in."""
    template = json.loads((FOLDER / "work-pool" / "base-job-template.json").read_text())
    spec: Object = template["job_configuration"]["job_manifest"]["spec"]["template"]
    return {"kind": "Job", "metadata": {"name": "davy"}, "spec": {"template": spec}}


WORKLOADS = [one for one in objects() if "template" in one.get("spec", {})] + [job()]
DAVYS = [one for one in WORKLOADS if one["metadata"]["name"] != "shop"]


def pod_of(workload: Object) -> Object:
    """The spec of its pods."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def variables(workload: Object) -> dict[str, str]:
    """What is written in a workload's own environment."""
    env = pod_of(workload)["containers"][0].get("env", [])
    return {one["name"]: one["value"] for one in env if "value" in one} if isinstance(env, list) else {}


def found(kind: str) -> dict[str, Object]:
    """The objects of a kind in Davy's namespace, by name."""
    return {
        one["metadata"]["name"]: one
        for one in objects()
        if one["kind"] == kind and one["metadata"].get("namespace") == "davy"
    }


def values_of(node: object, key: str) -> Iterator[Any]:
    """What stands under *key*, at any depth."""
    if isinstance(node, Mapping):
        yield from ([node[key]] if key in node else [])
        for one in node.values():
            yield from values_of(one, key)
    elif isinstance(node, list):
        for one in node:
            yield from values_of(one, key)


def test_what_is_applied_begins_with_the_namespace_and_is_all_in_it() -> None:
    first, *others = [one for path in APPLIED for one in documents(path)]
    assert name_of(first) == "Namespace/davy"
    assert {one["metadata"]["namespace"] for one in others} == {"davy"}
    assert not [path for path in FOLDER.iterdir() if path.suffix in (".yml", ".json")], "kubectl reads these"


def test_no_two_objects_have_one_name() -> None:
    names = [(one["apiVersion"], name_of(one), one["metadata"].get("namespace")) for one in objects()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_pods_are_as_restricted_as_can_be(workload: Object) -> None:
    pod = pod_of(workload)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False
    assert isinstance(pod["automountServiceAccountToken"], bool)
    assert pod["automountServiceAccountToken"] == ("serviceAccountName" in pod)
    assert not list(values_of(pod, "hostPath"))
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_what_is_written_to_is_a_volume(workload: Object) -> None:
    pod = pod_of(workload)
    mounted = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
    assert "/tmp" in mounted
    assert set(mounted.values()) == {one["name"] for one in pod["volumes"]} | {
        one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])
    }


def test_images_have_short_names_and_davys_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    template = json.loads((FOLDER / "work-pool" / "base-job-template.json").read_text())
    images = {pod_of(one)["containers"][0]["image"] for one in WORKLOADS} - {"{{ image }}"}
    images.add(template["variables"]["properties"]["image"]["default"])
    assert images == {f"davy:{version}", "postgres:16", "shop:1.0"}


def test_what_pods_refer_to_is_there() -> None:
    claims, accounts = found("PersistentVolumeClaim"), found("ServiceAccount")
    keys = documents(FOLDER / "examples" / "secrets.yaml")[0]["stringData"]
    for pod in map(pod_of, DAVYS):
        assert {one["claimName"] for one in values_of(pod, "persistentVolumeClaim")} <= claims.keys()
        assert {one["name"] for one in values_of(pod, "configMapRef")} <= {"davy-settings"}
        for one in values_of(pod, "secretKeyRef"):
            assert (one["name"], one["key"] in keys) == (SECRET, True)
        for one in values_of(pod, "secret"):
            assert one["secretName"] == SECRET
            assert {item["key"] for item in one["items"]} <= keys.keys()
        account = pod.get("serviceAccountName", "{{ service_account_name }}")
        assert account in {*accounts, "{{ service_account_name }}"}


def test_no_secret_is_in_here_and_none_is_applied() -> None:
    secrets = [path for path in ALL if path.name not in ELSEWHERE and "kind: Secret" in path.read_text()]
    assert [path.relative_to(FOLDER).as_posix() for path in secrets] == ["examples/secrets.yaml"]
    for text in documents(secrets[0])[0]["stringData"].values():
        assert "PLACEHOLDER" in text


def test_every_state_folder_is_the_one_of_the_settings() -> None:
    home = found("ConfigMap")["davy-settings"]["data"]["DAVY_HOME"]
    using = [one for one in DAVYS if list(values_of(pod_of(one), "claimName")) == ["davy-state"]]
    assert {name_of(one) for one in using} == {
        "Deployment/davy-releases",
        "Deployment/davy-way-back",
        "Deployment/davy-watcher",
        "Deployment/davy-approvals",
        "Deployment/davy-webhooks",
        "Job/davy",
    }
    for one in using:
        mounts = {mount["name"]: mount["mountPath"] for mount in pod_of(one)["containers"][0]["volumeMounts"]}
        assert mounts["state"] == home


def test_davys_settings_are_ones_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    data = found("ConfigMap")["davy-settings"]["data"]
    own = {name: text for name, text in data.items() if name.startswith("DAVY_")}
    assert {name.removeprefix("DAVY_").lower() for name in own} <= Settings.model_fields.keys()
    for name, text in own.items():
        monkeypatch.setenv(name, text)
    assert Settings().root == Path(data["DAVY_HOME"])


def test_prefect_has_the_settings_of_the_embedded_stack() -> None:
    here = found("ConfigMap")["davy-settings"]["data"] | variables(found("Deployment")["prefect-server"])
    expected = {name: text for name, text in environment().items() if name not in DIFFERENT}
    assert {name: here.get(name) for name in expected} == expected


def test_prefects_settings_are_ones_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    said = dict(found("ConfigMap")["davy-settings"]["data"])
    for workload in DAVYS:
        said |= variables(workload)
    ours = {name for name in said if re.match(r"PREFECT_(?!INTEGRATIONS_)", name)}
    for name in ours:
        monkeypatch.setenv(name, said[name])
    known = prefect.settings.Settings().to_environment_variables(exclude_unset=True)
    assert ours - known.keys() == set()


@pytest.mark.parametrize("workload", DAVYS, ids=name_of)
def test_modules_that_are_run_exist(workload: Object) -> None:
    container = pod_of(workload)["containers"][0]
    assert "command" not in container, "it would stand in place of the image's entry point"
    arguments = container.get("args", [])
    if arguments[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(arguments[2])
        assert arguments[3:] in ([], ["releases"], ["way-back"])
    if arguments[:1] == ["davy"]:
        shown = CliRunner().invoke(app, [arguments[1], "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        assert all(one in shown.output for one in arguments if one.startswith("--"))


@pytest.mark.parametrize(("seconds", "alive"), [(0, True), (25, True), (35, False), (None, False)])
def test_the_watchers_probe_tells_by_the_age_of_its_pulse(
    seconds: int | None, *, alive: bool, tmp_path: Path
) -> None:
    container = pod_of(found("Deployment")["davy-watcher"])["containers"][0]
    probes = {json.dumps(container[f"{name}Probe"]["exec"]) for name in ("startup", "readiness", "liveness")}
    assert len(probes) == 1
    pulse = Settings().watcher_pulse.name
    command = json.loads(probes.pop().replace(f"/var/lib/davy/{pulse}", str(tmp_path / pulse)))["command"]
    if seconds is not None:
        (tmp_path / pulse).touch()
        now = (tmp_path / pulse).stat().st_mtime
        os.utime(tmp_path / pulse, (now - seconds, now - seconds))
    assert (subprocess.run(command, check=False, capture_output=True).returncode == 0) == alive


def test_policies_select_pods_that_there_are() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in DAVYS]
    values = {pair for one in labels for pair in one.items()}
    for policy in found("NetworkPolicy").values():
        for selector in (*values_of(policy, "podSelector"),):
            assert set(selector.get("matchLabels", {}).items()) <= values
            for one in selector.get("matchExpressions", []):
                assert {(one["key"], value) for value in one["values"]} <= values


@pytest.mark.parametrize("name", found("Service"))
def test_a_service_leads_to_a_port_that_its_pods_have_and_a_policy_lets_in(name: str) -> None:
    (own,), labels = found("Service")[name]["spec"]["ports"], found("Service")[name]["spec"]["selector"]
    (pod,) = [
        pod_of(one)
        for one in DAVYS
        if labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert {"name": own["targetPort"], "containerPort": own["port"]} in pod["containers"][0]["ports"]
    let_in = [
        port["port"]
        for policy in found("NetworkPolicy").values()
        if policy["spec"]["podSelector"].get("matchLabels") == labels
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    ]
    assert let_in == [own["port"]]


def test_there_is_one_watcher_and_never_two_at_once() -> None:
    spec = found("Deployment")["davy-watcher"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_everything_of_a_service_is_in_its_namespace() -> None:
    for path in (FOLDER / "examples" / "shop").glob("*.yaml"):
        assert {one["metadata"]["namespace"] for one in documents(path)} == {"shop"}


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_service_files_are_valid_and_fit_their_manifests(path: Path) -> None:
    service = load(path)
    assert path.stem == f"shop-{service.router.kind.replace('_', '-')}"
    assert len(path.read_text().splitlines()) <= 32
    shop = {name_of(one): one for one in documents(FOLDER / "examples" / "shop" / "shop.yaml")}
    own = shop[f"Deployment/{service.kubernetes.deployment or service.service}"]
    assert own["metadata"]["namespace"] == service.kubernetes.namespace
    image = pod_of(own)["containers"][0]["image"]
    assert service.kubernetes.image
    assert service.kubernetes.image.format(version="1.0") == image
    assert f"Service/{service.service}" in shop
