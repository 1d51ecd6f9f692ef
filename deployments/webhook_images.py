"""Ask a registry whether it has an image (OCI distribution: HEAD of the manifest, with the token that it asks for)."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import httpx

from tasks.domain.errors import InputError, PermanentError, TransientError

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
HUB, HUB_API, HUB_KEY = "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"
"""Docker Hub: its name in images, where its API answers, and its key in a Docker configuration."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Registries that are asked without TLS, as Docker does."""
_REFERENCE = re.compile(r"(?P<path>[^@]+?)(?:@(?P<digest>\w+:\w+)|:(?P<tag>[\w.-]+))", re.ASCII)


@dataclass(frozen=True)
class Image:
    """An image's name, taken apart.

    Attributes:
        registry: Host, with its port where the name has one.
        reference: A tag or a digest.
    """

    registry: str
    repository: str
    reference: str

    @classmethod
    def parse(cls, name: str) -> Image:
        """Read ``[registry/]repository:tag``; without a registry it is Docker Hub's.

        Raises:
            InputError: It is no such name; not retried.
        """
        found = _REFERENCE.fullmatch(name)
        first, slash, rest = (found["path"] if found else "").partition("/")
        has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, repository = (first, rest) if has_registry else (HUB, f"{first}{slash}{rest}")
        if found is None or not repository:
            raise InputError("image", name, "an image with its tag, such as registry.example.com/shop:1.4.2")
        if registry == HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, found["digest"] or found["tag"])

    @property
    def url(self) -> str:
        """Where its manifest is."""
        scheme = (
            "http" if self.registry.rpartition(":")[0] in LOOPBACK or self.registry in LOOPBACK else "https"
        )
        host = HUB_API if self.registry == HUB else self.registry
        return f"{scheme}://{host}/v2/{self.repository}/manifests/{self.reference}"


class Registries:
    """Looks for images with the credentials of a Docker configuration.

    Args:
        docker_config: Its ``config.json``, read at each look; None for none, so only public images are seen.
    """

    def __init__(self, client: httpx.AsyncClient, docker_config: Path | None) -> None:
        self._client = client
        self._config = docker_config

    async def has(self, name: str) -> bool:
        """Whether the registry has the image *name* now.

        Raises:
            InputError: *name* is no image's name; not retried.
            PermanentError: The registry asks for what can't be given to it; looked at again by the caller.
            TransientError: The registry does not answer, or does not let it be read; looked at again by the caller.
        """
        image = Image.parse(name)
        try:
            return await self._look(image)
        except httpx.HTTPError as error:
            msg = f"{image.registry}: found {type(error).__name__}, expected an answer"
            raise TransientError(msg) from error

    async def _look(self, image: Image) -> bool:
        accept = {"Accept": ", ".join(MANIFESTS)}
        answer = await self._client.head(image.url, headers=accept)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            allowed = {"Authorization": await self._authorization(image, answer)}
            answer = await self._client.head(image.url, headers=accept | allowed)
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            msg = f"{image.registry}: found {answer.status_code}, expected to be told of {image.repository}"
            raise TransientError(msg)
        return answer.status_code == httpx.codes.OK

    async def _authorization(self, image: Image, refused: httpx.Response) -> str:
        """What the registry's challenge asks for: a token for reading the repository, or the credentials."""
        scheme, _, rest = refused.headers.get("WWW-Authenticate", "").partition(" ")
        credentials = read_credentials(self._config, image.registry)
        if scheme.lower() == "basic" and credentials:
            return httpx.BasicAuth(*credentials)._auth_header  # noqa: SLF001 - it has no other name
        challenge = parse_keqv_list(parse_http_list(rest)) if scheme.lower() == "bearer" else {}
        realm = urljoin(image.url, challenge.get("realm", ""))
        if "realm" not in challenge or (urlsplit(image.url).scheme, urlsplit(realm).scheme) == (
            "https",
            "http",
        ):
            msg = f"{image.registry}: found a challenge {scheme!r}, expected 'Bearer' with a realm behind TLS"
            raise PermanentError(msg)
        asked = {"scope": challenge.get("scope") or f"repository:{image.repository}:pull"}
        if "service" in challenge:
            asked["service"] = challenge["service"]
        answer = await self._client.get(realm, params=asked, auth=credentials)
        token = _token(answer)
        if token is None:
            msg = f"{image.registry}: found {answer.status_code} and no token, expected one to read {image.repository}"
            raise TransientError(msg)
        return f"Bearer {token}"


def _token(answer: httpx.Response) -> str | None:
    try:
        content = answer.json() if answer.is_success else None
    except ValueError:
        return None
    token = (content.get("token") or content.get("access_token")) if isinstance(content, dict) else None
    return token if isinstance(token, str) else None


def read_credentials(config: Path | None, registry: str) -> tuple[str, str] | None:
    """User and password for a *registry* in a Docker configuration; None where it has none.

    Raises:
        PermanentError: It can't be read; the message has nothing of what is in it.
    """
    if config is None:
        return None
    try:
        auths: dict[str, Any] = json.loads(config.read_text())["auths"]
        keys = (
            registry,
            f"https://{registry}",
            f"http://{registry}",
            *([HUB_KEY] if registry == HUB else []),
        )
        entry = next((auths[key] for key in keys if key in auths), None)
        if entry is None:
            return None
        if "auth" in entry:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            return user, password
        return str(entry["username"]), str(entry["password"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        msg = f"{config}: found no credentials that can be read, expected a Docker configuration with 'auths'"
        raise PermanentError(msg) from None
