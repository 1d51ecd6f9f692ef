"""The ways by which Davy is given secrets: a night, releases, notices, merges and commands.

They run against servers that refuse, say again what they were sent, answer nonsense, are slow or are not there, so
that all of them have errors to tell of.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
import yaml
from prefect.blocks.system import Secret
from typer.testing import CliRunner

from deployments.cli import app
from deployments.prefect_api import run_url
from deployments.secret_blocks import read_block
from deployments.service_files import load
from deployments.watcher import Watched
from deployments.webhooks import create_app, read_settings
from flows.nightly import nightly
from flows.rolling import rolling
from tasks.domain.errors import DavyError
from tasks.domain.nightly import Night
from tasks.journal import journal_of
from tasks.links import link_for
from tasks.notify.base import Links
from tasks.notify.secret_places import secret_reader
from tasks.notify.teller import Teller
from tests.deployments import webhook_servers as merges
from tests.flows.planted_scene import Scene
from tests.rig.engine import run_as_scheduled
from tests.rig.fakes import make_service, make_world
from tests.rig.planted import Mirror, mirroring
from tests.rig.stack import ROOT
from tests.tasks.notify.mailbox import mail_server
from tests.tasks.notify.receivers import FakeSlack, Receiver, serving
from tests.tasks.notify.releases import await_that, by_slack, by_webhook

BLOCK = "planted-address"


def a_night(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night whose registries and repositories refuse, answer nonsense, are slow or are not there."""
    planted, port = scene.planted, scene.port
    basic = Mirror(port(), status=403, challenge='Basic realm="registry"')
    bearer = Mirror(port(), status=0)
    bearer_door = Mirror(port(), challenge=f'Bearer realm="{bearer.url}/token",service="registry"')
    repository, rewritten = Mirror(port()), Mirror(port(), status=500, challenge='Basic realm="git"')
    nobody = port()
    docker = {
        f"127.0.0.1:{one}": {
            "auth": base64.b64encode(f"davy:{planted('registry by file')}".encode()).decode()
        }
        for one in (bearer_door.server_port, nobody)
    }
    (scene.folder / "docker").mkdir()
    (scene.folder / "docker" / "config.json").write_text(json.dumps({"auths": docker}))
    given = f"url.http://davy:{planted('git by address')}@127.0.0.1"
    configuration = [
        (f"http.{repository.url}/.extraHeader", f"Authorization: Bearer {planted('git by header')}"),
        (f"{given}:{rewritten.server_port}/.insteadOf", "http://rewritten.example/"),
        (f"{given}:{nobody}/.insteadOf", "http://nobody.example/"),
    ]
    env(
        monkeypatch,
        **{
            f"DAVY_REGISTRY_127_0_0_1_{basic.server_port}_USER": "davy",
            f"DAVY_REGISTRY_127_0_0_1_{basic.server_port}_PASSWORD": planted("registry by env"),
            "DOCKER_CONFIG": str(scene.folder / "docker"),
            "GIT_CONFIG_COUNT": str(len(configuration)),
        },
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in enumerate(configuration)},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(configuration)},
    )
    images = [f"127.0.0.1:{one}/team/shop" for one in (basic.server_port, bearer_door.server_port, nobody)]
    repositories = [
        f"{repository.url}/shop.git",
        "http://rewritten.example/shop.git",
        "http://nobody.example/shop.git",
    ]
    sources = [{"kind": "oci", "image": one, "timeout": "1s"} for one in images]
    sources += [{"kind": "git", "repository": one, "timeout": "5s"} for one in repositories]
    services = [
        {"service": make_service("rolling", f"s{number}").model_dump(mode="json"), "versions": one}
        for number, one in enumerate(sources)
    ]
    with mirroring(basic, bearer, bearer_door, repository, rewritten):
        state = run_as_scheduled(nightly, {"services": services, "night": Night().model_dump(mode="json")})
    assert "6 could not be looked at" in str(state.message)
    scene.said.append(str(state.message))
    scene.heard("registry by env", basic.heard, "registry by env")
    scene.heard("registry's tokens", bearer.heard, "registry by file")
    scene.heard("registry by file", bearer_door.heard)
    scene.heard("git by header", repository.heard, "git by header")
    scene.heard("git by address", rewritten.heard, "git by address")


def a_release(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that is told through every channel, by secrets from every place."""
    planted, port = scene.planted, scene.port
    slack, hook = FakeSlack(port(), planted("slack by env")), Receiver(port())
    mirror, nonsense = Mirror(port(), status=401), Mirror(port(), status=0)
    nobody, mail_port = port(), port()
    address = f"{hook.url}/{planted('webhook address by block')}"
    Secret(value=address).save(BLOCK, overwrite=True)
    (scene.folder / "password").write_text(planted("mail by file") + "\n")
    env(
        monkeypatch,
        T=planted("slack by env"),
        SIGNING=planted("webhook signature"),
        WRONG=planted("mail, refused"),
    )
    email = {
        "kind": "email",
        "to": ["ann@example.com"],
        "from": "davy@example.com",
        "host": "127.0.0.1",
        "user": "davy",
    }
    told = [
        by_slack(f"{slack.url}/api/"),
        *(by_slack(f"{one}/api/") for one in (mirror.url, nonsense.url, f"http://127.0.0.1:{nobody}")),
        by_webhook(mirror.url, secret={"env": "SIGNING"}),
        by_webhook(f"http://127.0.0.1:{nobody}/", secret={"env": "SIGNING"}),
        {"kind": "webhook", "url_from": {"block": BLOCK}, "secret": {"env": "SIGNING"}},
        {"kind": "webhook", "url_from": {"block": "no-such-block"}},
        {**email, "port": mail_port, "password": {"file": str(scene.folder / "password")}},
        {**email, "port": mail_port, "password": {"env": "WRONG"}},
        {**email, "port": nobody, "password": {"file": "/no/such/file"}},
    ]
    world = make_world(monkeypatch)
    world.have_stable(2)
    service = make_service("rolling", replicas=2, notify=told)
    with (
        serving(slack),
        serving(hook),
        mirroring(mirror, nonsense),
        mail_server(mail_port, "starttls", scene.folder) as mailbox,
    ):
        mailbox.password = planted("mail by file")
        monkeypatch.setenv("SSL_CERT_FILE", str(scene.folder / "ca.crt"))
        state = rolling(service, "v2", "r1", return_state=True)
        assert state is not None
        assert state.name == "Promoted"
        teller = Teller(Links(run_url, approver_url=link_for), secret_reader(read_block))
        Watched(journal_of("shop", "r1"), teller).look_once()
        await_that(lambda: slack.posts and hook.requests and len(mailbox.logins) > 1 and mailbox.mails)
        teller.settle(timedelta(seconds=1))
        teller.close()
    assert {login[1].decode() for login in mailbox.logins} >= {
        planted("mail by file"),
        planted("mail, refused"),
    }
    assert mailbox.mails
    scene.heard("slack", repr(slack.requests).encode(), "slack by env")
    scene.heard("webhook", repr(hook.requests).encode(), "webhook address by block")
    scene.heard("mirror", mirror.heard, "slack by env")
    scene.heard("nonsense", nonsense.heard, "slack by env")
    scene.heard("mails", b"".join(bytes(mail) for mail in mailbox.mails))


def a_cluster_that_refuses(scene: Scene) -> None:
    """Releases on clusters whose kubeconfig has a token, and which refuse it or are not there."""
    mirror = Mirror(scene.port(), status=401)
    example = ROOT / "deployments" / "examples" / "kubernetes" / "shop-istio.yaml"
    for number, url in enumerate((mirror.url, f"http://127.0.0.1:{scene.port()}")):
        path = scene.folder / f"kubeconfig-{number}"
        path.write_text(yaml.safe_dump(kubeconfig(url, scene.planted("kubeconfig's token"))))
        content = yaml.safe_load(example.read_text())
        content["service"], content["strategy"] = f"far-{number}", "rolling"
        content = {key: content[key] for key in ("service", "strategy", "fleet", "router", "analysis")}
        content["fleet"] |= {"kubeconfig": str(path)}
        content["analysis"] = {"metrics": content["analysis"]["metrics"]}
        file = scene.folder / f"far-{number}.yaml"
        file.write_text(yaml.safe_dump(content))
        service = load(file).model_dump(mode="json")
        with mirroring(mirror) if not number else mirroring():
            state = run_as_scheduled(rolling, {"service": service, "version": "1.1"})
        assert state.is_failed()
        scene.said.append(str(state.message))
    scene.heard("cluster", mirror.heard, "kubeconfig's token")


def kubeconfig(url: str, token: str) -> dict[str, Any]:
    """One cluster, one user."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "far",
        "contexts": [{"name": "far", "context": {"cluster": "far", "user": "far"}}],
        "clusters": [{"name": "far", "cluster": {"server": url}}],
        "users": [{"name": "far", "user": {"token": token}}],
    }


def some_merges(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges that are signed, forged and malformed; their image's registry refuses, and Prefect does, too."""
    planted = scene.planted
    registry = Mirror(scene.port(), status=403, challenge='Basic realm="registry"')
    prefect = Mirror(scene.port(), status=401)
    config = scene.folder / "images.json"
    auth = base64.b64encode(f"davy:{planted('image registry')}".encode()).decode()
    config.write_text(json.dumps({"auths": {f"127.0.0.1:{registry.server_port}": {"auth": auth}}}))
    (scene.folder / "gitlab").write_text(planted("gitlab by file"))
    env(
        monkeypatch,
        DAVY_WEBHOOK_GITHUB_SECRET=planted("github by env"),
        DAVY_WEBHOOK_GITLAB_TOKEN_FILE=str(scene.folder / "gitlab"),
        DAVY_WEBHOOK_GENERIC_SECRET=planted("generic by env"),
        DAVY_WEBHOOK_DOCKER_CONFIG=str(config),
        DAVY_WEBHOOK_IMAGE_POLL="200ms",
        DAVY_WEBHOOK_SHOW_DELIVERIES="1",
        PREFECT_API_URL=f"{prefect.url}/api",
    )
    folder = scene.folder / "services"
    merges.write_service(folder, "plain")
    merges.write_service(folder, "imaged", image=f"127.0.0.1:{registry.server_port}/team/shop:{{sha}}")
    github, gitlab = planted("github by env"), planted("gitlab by file")
    with (
        mirroring(registry, prefect),
        merges.receiving(create_app(folder, read_settings()), scene.port()) as base,
    ):
        requests = [
            ("github", merges.from_github(merges.payload("github-push"), secret=github)),
            ("github", merges.from_github(b"{nonsense", secret=github)),
            ("github", merges.from_github(merges.payload("github-push"), secret="forged")),
            ("gitlab", merges.from_gitlab({"object_kind": "push"}, token=gitlab)),
            ("gitlab", merges.from_gitlab({"object_kind": "push"}, token=f"{gitlab}x")),
            ("generic", merges.from_generic({"sha": 1}, secret=planted("generic by env"))),
        ]
        scene.said += [merges.post(base, sender, one).text for sender, one in requests]
        merges.until(lambda: registry.heard and prefect.heard)
        merges.until(lambda: merges.get(f"{base}/deliveries").json()["releases"])
        scene.said += [merges.get(f"{base}/{page}").text for page in ("deliveries", "health", "openapi.json")]
    scene.heard("images", registry.heard, "image registry")
    scene.heard("prefect for merges", prefect.heard, "prefect auth string")
    monkeypatch.delenv("PREFECT_API_URL")


def some_commands(scene: Scene) -> None:
    """Files in which a secret stands where its place belongs, and commands that look at all that was left."""
    wrong = {
        "notify": [{"kind": "slack", "channel": "#x", "token": scene.planted("slack in a file")}],
        "versions": {
            "kind": "git",
            "repository": f"https://davy:{scene.planted('git in a file')}@example.com/x.git",
        },
        "analysis": {
            "metrics": {"source": "prometheus", "url": f"http://d:{scene.planted('prometheus in a file')}@h"}
        },
    }
    file = scene.folder / "wrong.yaml"
    for key, value in wrong.items():
        file.write_text(
            yaml.safe_dump(
                {
                    "service": "x",
                    "strategy": "rolling",
                    "fleet": {"command": "serve {port}"},
                    "router": {"port": 8080},
                    key: value,
                }
            )
        )
        with pytest.raises(DavyError) as refused:
            load(file)
        scene.said.append(str(refused.value))
    for words in (
        ["status"],
        ["history"],
        ["deploy", str(file.parent)],
        ["plan", str(file), "--version", "1"],
    ):
        done = CliRunner().invoke(app, words)
        scene.said += [done.output, repr(done.exception)]


def env(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
