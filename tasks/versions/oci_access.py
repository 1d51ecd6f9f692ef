"""Ask a registry by the OCI distribution API: where it answers, who asks, and what it says when it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from tasks.domain.errors import ForbiddenError, GoneError, PermanentError, TransientError
from tasks.domain.versions import OciVersions
from tasks.versions.credentials import HUB, Credentials, credentials_of

HUB_API = "registry-1.docker.io"
"""Where Docker Hub answers."""
HERE = ("localhost", "127.0.0.1")
"""Hosts that are spoken to by plain HTTP, as everybody does."""
MOST_PAGES = 1000
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Access:
    """One repository of a registry, while it is asked."""

    def __init__(self, versions: OciVersions) -> None:
        host = versions.registry
        plain = versions.plain_http or host.partition(":")[0] in HERE
        self._image = versions.image
        self._repository = versions.repository
        self._credentials = credentials_of(host)
        self._token: str | None = None
        base = (
            f"{'http' if plain else 'https'}://{HUB_API if host == HUB else host}/v2/{versions.repository}/"
        )
        seconds = versions.timeout.total_seconds()
        self._http = httpx.Client(base_url=base, timeout=seconds, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(
        self, path: str, *, method: str = "GET", accept: str = "*/*", missing: bool = False
    ) -> httpx.Response:
        """The registry's answer to one question about the repository.

        Args:
            path: Behind the repository's name.
            missing: Give an answer that says that there is no such thing, instead of raising.

        Raises:
            TransientError: No answer, or one that says later (429, 5xx); retried.
            GoneError: There is no such repository, tag or blob; not retried.
            ForbiddenError: The credentials are missing or refused; not retried.
            PermanentError: Any other answer; not retried.
        """
        answer = self._send(method, path, {"Accept": accept} | self._authorization())
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status_code == httpx.codes.UNAUTHORIZED and challenge:
            self._token = self._token_by(challenge)
            answer = self._send(method, path, {"Accept": accept} | self._authorization())
        if not answer.is_success and not (missing and answer.status_code == httpx.codes.NOT_FOUND):
            raise self._refusal(answer.status_code, self._repository)
        return answer

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Every page of a list, as the registry's Link headers lead on.

        Raises:
            TransientError: As `ask`; retried.
            PermanentError: As `ask`, or a link that leads nowhere or away; not retried.
        """
        for _ in range(MOST_PAGES):
            answer = self.ask(path)
            yield self.content(answer)
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            path = urljoin(str(answer.url), following)
            if urlsplit(path)[:2] != urlsplit(str(self._http.base_url))[:2]:
                msg = f"{self._image}: found a next page elsewhere, expected one of the same registry"
                raise PermanentError(msg)
        msg = f"{self._image}: found more than {MOST_PAGES} pages of tags, expected fewer"
        raise PermanentError(msg)

    def content(self, answer: httpx.Response) -> dict[str, Any]:
        """The JSON object of an answer.

        Raises:
            PermanentError: It is none; not retried.
        """
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            msg = f"{self._image}: found an answer that is no JSON object, expected a registry"
            raise PermanentError(msg)
        return content

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _token_by(self, challenge: str) -> str:
        """What a registry that asks who we are wants to see: a password, or a token for it."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if self._credentials is None:
                raise self._refusal(httpx.codes.UNAUTHORIZED, f"{self._repository} without credentials")
            return _basic(self._credentials)
        words = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or not words.get("realm", "").startswith(("https://", "http://")):
            msg = f"{self._image}: found authentication {scheme!r}, expected Basic or Bearer with a realm"
            raise PermanentError(msg)
        return f"Bearer {self._fetch_token(words.pop('realm'), words)}"

    def _fetch_token(self, realm: str, words: Mapping[str, str]) -> str:
        parts = urlsplit(realm)
        if parts.scheme == "http" and self._credentials and parts.hostname not in HERE:
            msg = f"{self._image}: found a token server without TLS ({parts.hostname}), expected https"
            raise ForbiddenError(msg)
        asked = {key: words[key] for key in ("service", "scope") if key in words}
        asked.setdefault("scope", f"repository:{self._repository}:pull")
        headers = {"Authorization": _basic(self._credentials)} if self._credentials else {}
        answer = self._send("GET", str(httpx.URL(realm).copy_merge_params(asked)), headers)
        if not answer.is_success:
            raise self._refusal(answer.status_code, f"a token for {self._repository}")
        content = self.content(answer)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str):
            msg = f"{self._image}: found an answer without token, expected one from {parts.hostname}"
            raise PermanentError(msg)
        return token

    def _send(self, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
        try:
            return self._http.request(method, path, headers=headers)
        except httpx.TransportError as error:
            msg = f"{self._image}: its registry gave {type(error).__name__}, expected an answer"
            raise TransientError(msg) from None  # what it said may repeat what it was shown
        except httpx.HTTPError as error:
            msg = f"{self._image}: its registry gave {type(error).__name__}, expected an answer"
            raise PermanentError(msg) from None  # what it said may repeat what it was shown

    def _refusal(self, status: int, wanted: str) -> PermanentError | TransientError:
        host = self._image.partition("/")[0]
        msg = f"{self._image}: found answer {status} of {host}, expected {wanted}"
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return TransientError(msg)
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return ForbiddenError(msg)
        return GoneError(msg) if status == httpx.codes.NOT_FOUND else PermanentError(msg)


def _basic(credentials: Credentials) -> str:
    built = httpx.BasicAuth(credentials.user, credentials.password)
    request = next(built.auth_flow(httpx.Request("GET", "http://registry")))
    return str(request.headers["Authorization"])
