"""How a registry is asked for an image, and with whose credentials."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deployments.webhook_images import HUB_KEY, Image, Registries, read_credentials
from tasks.domain.errors import InputError, PermanentError, TransientError
from tests.deployments.webhook_servers import Registry, serving

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("shop:1", "https://registry-1.docker.io/v2/library/shop/manifests/1"),
        ("team/shop:1", "https://registry-1.docker.io/v2/team/shop/manifests/1"),
        ("docker.io/team/shop:1", "https://registry-1.docker.io/v2/team/shop/manifests/1"),
        ("registry.example.com/a/b/shop:v1.2", "https://registry.example.com/v2/a/b/shop/manifests/v1.2"),
        ("registry.example.com:5000/shop:1", "https://registry.example.com:5000/v2/shop/manifests/1"),
        (f"registry.example.com/shop@{DIGEST}", f"https://registry.example.com/v2/shop/manifests/{DIGEST}"),
        ("localhost:5000/shop:1", "http://localhost:5000/v2/shop/manifests/1"),
        ("127.0.0.1:5000/shop:1", "http://127.0.0.1:5000/v2/shop/manifests/1"),
    ],
)
def test_an_images_manifest_is_asked_for_where_docker_asks(name: str, url: str) -> None:
    assert Image.parse(name).url == url


@pytest.mark.parametrize(
    "name", ["", "shop", "registry.example.com/shop", "registry.example.com/:1", "shop:a b"]
)
def test_what_is_no_image_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"image: found .*, expected an image with its tag"):
        Image.parse(name)


def look(name: str, config: Path | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> bool:
    async def looked() -> bool:
        async with httpx.AsyncClient(transport=transport, verify=False) as client:
            return await Registries(client, config).has(name)

    return asyncio.run(looked())


def test_a_registry_shows_its_images_to_whoever_has_its_token(free_port: Callable[[], int]) -> None:
    registry = Registry(free_port())
    registry.images.add("team/shop:1")
    with serving(registry):
        assert look(f"127.0.0.1:{registry.server_port}/team/shop:1")
        assert not look(f"127.0.0.1:{registry.server_port}/team/shop:2")
    with pytest.raises(TransientError, match="found ConnectError, expected an answer"):
        look(f"127.0.0.1:{registry.server_port}/team/shop:1")


@pytest.mark.parametrize("challenge", ["Bearer realm='http://auth.example.com/token'", "Negotiate", ""])
def test_credentials_go_nowhere_without_tls(challenge: str, tmp_path: Path) -> None:
    challenge = challenge.replace("'", '"')
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    config = configured(tmp_path, "registry.example.com")
    with pytest.raises(PermanentError, match="expected 'Bearer' with a realm behind TLS"):
        look("registry.example.com/shop:1", config, transport=httpx.MockTransport(answer))
    assert ["authorization" in request.headers for request in asked] == [False]


def test_a_registry_may_want_the_credentials_themselves(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") == httpx.BasicAuth("davy", "a-password")._auth_header:
            return httpx.Response(200)
        return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    config = configured(tmp_path, "registry.example.com")
    assert look("registry.example.com/shop:1", config, transport=httpx.MockTransport(answer))


def configured(folder: Path, registry: str) -> Path:
    auth = base64.b64encode(b"davy:a-password").decode()
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    return path


def test_credentials_are_dockers(tmp_path: Path) -> None:
    known = ("davy", "a-password")
    assert read_credentials(configured(tmp_path, "registry.example.com"), "registry.example.com") == known
    assert (
        read_credentials(configured(tmp_path, "https://registry.example.com"), "registry.example.com")
        == known
    )
    assert read_credentials(configured(tmp_path, HUB_KEY), "docker.io") == known
    assert read_credentials(configured(tmp_path, "other.example.com"), "registry.example.com") is None
    assert read_credentials(None, "registry.example.com") is None


def test_a_configuration_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"auths": {"registry.example.com": {"auth": "a-secret-that-is-no-base64!"}}}')
    with pytest.raises(PermanentError, match="found no credentials that can be read") as refused:
        read_credentials(path, "registry.example.com")
    assert "a-secret" not in str(refused.value)
