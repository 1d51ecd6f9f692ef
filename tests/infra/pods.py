"""Programs as the manifests run them: their arguments and environment, with folders and ports of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.infra.test_kubernetes import Object, found, name_of, pod_of, values_of
from tests.rig.cluster.kubelet_volumes import moved
from tests.rig.stack import ROOT, await_that

PROGRAMS = {"prefect": ["-m", "prefect"], "davy": ["-m", "deployments.cli"], "python": []}
"""What Python is told in place of an image's commands."""


def environment_of(workload: Object, secrets: Mapping[str, str]) -> dict[str, str]:
    """A container's variables: of the settings, written out, and from the Secret."""
    container = pod_of(workload)["containers"][0]
    made = dict(found("ConfigMap")["davy-settings"]["data"]) if container.get("envFrom") else {}
    for one in container["env"]:
        made[one["name"]] = (
            one["value"] if "value" in one else secrets[one["valueFrom"]["secretKeyRef"]["key"]]
        )
    return made


def mounts_of(workload: Object, folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """Make a folder for each that is mounted, with the Secret's files in it; give it by its path in the pod."""
    pod, made = pod_of(workload), {}
    files = {one["name"]: one.get("secret", {}).get("items", []) for one in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        here = folder / mount["name"]
        here.mkdir(exist_ok=True)
        for item in files[mount["name"]]:
            (here / item["path"]).write_text(secrets[item["key"]])
        made[mount["mountPath"]] = str(here)
    return made


@contextmanager
def running(
    workload: Object, folder: Path, port: int, secrets: Mapping[str, str], **changes: str
) -> Iterator[str]:
    """Run a workload's program on 127.0.0.1 until the test is over; give its address once its probes are content.

    Args:
        changes: Variables that are others here, as they are to be.
    """
    container = pod_of(workload)["containers"][0]
    folders = mounts_of(workload, folder, secrets)
    (own,) = (one["containerPort"] for one in container["ports"])
    words = [moved(one, folders) for one in container["args"]]
    words = [{"0.0.0.0": "127.0.0.1", str(own): str(port)}.get(one, one) for one in words]
    environment = {name: moved(text, folders) for name, text in environment_of(workload, secrets).items()}
    said = {"PATH": os.environ["PATH"], "HOME": str(folder), "MPLBACKEND": "agg"}
    command = [sys.executable, *PROGRAMS[words[0]], *words[1:]]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=said | environment | changes, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        paths = {one["path"] for one in values_of(container, "httpGet")}

        def content() -> bool:
            return process.poll() is not None or all(answers(url + path) for path in paths)

        await_that(content, 120, f"the probes of {name_of(workload)}")
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Whether it answers a probe, which shows no credential, with 200."""
    try:
        return httpx.get(url, timeout=10).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
