"""What a registry may say besides its answer: pages, tokens, later, no. Given by a small server."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.domain.errors import DavyError, ForbiddenError, GoneError, PermanentError, TransientError
from tasks.domain.versions import OciVersions
from tasks.versions import Found, open_versions

Answer = tuple[int, dict[str, str], object]
TAGS = "/v2/team/shop/tags/list?n=1000"


class Small(ThreadingHTTPServer):
    """Gives the answers that it was told to, by path; remembers who asked."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.answers: dict[str, Callable[[str], Answer]] = {}
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", port), Handler)
        self.host = f"127.0.0.1:{port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Small

    def do_GET(self) -> None:
        """Read something."""
        self._answer()

    def do_HEAD(self) -> None:
        """Ask about something."""
        self._answer()

    def _answer(self) -> None:
        auth = self.headers.get("Authorization", "")
        self.server.asked.append((self.path, auth))
        known = self.server.answers.get(self.path, lambda _auth: (404, {}, {"errors": []}))
        status, headers, content = known(auth)
        payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(payload))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


@pytest.fixture
def small(free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    server = Small(free_port())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def find(small: Small, **how: object) -> Found | None:
    content = {"image": f"{small.host}/team/shop", "timeout": "1s", **how}
    return open_versions(OciVersions.model_validate(content)).newest("")


def manifest(small: Small, tag: str) -> None:
    small.answers[f"/v2/team/shop/manifests/{tag}"] = lambda _: (
        200,
        {"Docker-Content-Digest": "sha256:1"},
        {},
    )


def test_every_page_of_tags_is_read(small: Small) -> None:
    rest = "/v2/team/shop/tags/list?last=1.1.0&n=2"
    first: Answer = (200, {"Link": f'<{rest}>; rel="next"'}, {"tags": ["1.0.0", "1.1.0"]})
    small.answers |= {TAGS: lambda _: first, rest: lambda _: (200, {}, {"tags": ["1.3.0"]})}
    manifest(small, "1.3.0")
    assert find(small) == Found("1.3.0", "sha256:1")


@pytest.mark.parametrize("tags", [None, []])
def test_a_repository_without_tags_has_no_version(small: Small, tags: list[str] | None) -> None:
    small.answers[TAGS] = lambda _: (200, {}, {"name": "team/shop", "tags": tags})
    assert find(small) is None


@pytest.mark.parametrize("link", ["http://127.0.0.1:1/v2/x", "//elsewhere.example.com/v2/x"])
def test_a_next_page_at_another_host_is_refused(small: Small, link: str) -> None:
    small.answers[TAGS] = lambda _: (200, {"Link": f'<{link}>; rel="next"'}, {"tags": ["1.0.0"]})
    with pytest.raises(PermanentError, match="found a next page elsewhere"):
        find(small)


def test_pages_without_end_are_refused(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.versions.oci_access.MOST_PAGES", 3)
    small.answers[TAGS] = lambda _: (200, {"Link": f'<{TAGS}>; rel="next"'}, {"tags": ["1.0.0"]})
    with pytest.raises(PermanentError, match="found more than 3 pages"):
        find(small)


def protect(small: Small) -> None:
    """Tags only for who shows the token, which is had for a password."""
    challenge = f'Bearer realm="http://{small.host}/token",service="reg",scope="repository:team/shop:pull"'
    right = f"Basic {b64encode(b'davy:lamp').decode()}"

    def tags(auth: str) -> Answer:
        if auth == "Bearer t-1":
            return 200, {}, {"tags": ["1.0.0"]}
        return 401, {"WWW-Authenticate": challenge}, {}

    small.answers[TAGS] = tags
    small.answers["/token?service=reg&scope=repository%3Ateam%2Fshop%3Apull"] = lambda auth: (
        (200, {}, {"token": "t-1"}) if auth == right else (401, {}, {})
    )
    manifest(small, "1.0.0")


def credentials(small: Small, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    name = small.host.replace(".", "_").replace(":", "_")
    monkeypatch.setenv(f"DAVY_REGISTRY_{name}_USER", "davy")
    monkeypatch.setenv(f"DAVY_REGISTRY_{name}_PASSWORD", password)


def test_a_token_is_had_for_the_password_and_shown_from_then_on(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(small)
    credentials(small, monkeypatch, "lamp")
    assert find(small) == Found("1.0.0", "sha256:1")
    with_password = [path for path, auth in small.asked if auth.startswith("Basic")]
    assert len(with_password) == 1
    assert with_password[0].startswith("/token"), "the password goes to who gives tokens, and nowhere else"


def test_a_password_that_gets_no_token_is_refused_without_being_told(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(small)
    credentials(small, monkeypatch, "gas-lamp")
    with pytest.raises(
        ForbiddenError, match=r"found answer 401 .*, expected a token for team/shop"
    ) as caught:
        find(small)
    assert "gas-lamp" not in repr(caught.value)


def test_a_password_is_not_sent_to_a_token_server_without_tls(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.answers[TAGS] = lambda _: (
        401, {"WWW-Authenticate": 'Bearer realm="http://tokens.example.com/t"'}, {}
    )  # fmt: skip
    credentials(small, monkeypatch, "lamp")
    with pytest.raises(ForbiddenError, match=r"token server without TLS \(tokens\.example\.com\)"):
        find(small)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, GoneError),
        (400, PermanentError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_a_refusal_names_repository_and_answer_and_only_what_may_pass_is_asked_again(
    small: Small, status: int, kind: type[DavyError]
) -> None:
    small.answers[TAGS] = lambda _: (status, {}, {"errors": [{"code": "X"}]})
    with pytest.raises(kind, match=f"{small.host}/team/shop: found answer {status} .*, expected team/shop"):
        find(small)


@pytest.mark.parametrize("content", ["<html>somebody's wiki</html>", "[]", "\x00"])
def test_something_that_is_no_registry_is_named(small: Small, content: str) -> None:
    small.answers[TAGS] = lambda _: (200, {}, content)
    with pytest.raises(PermanentError, match="no JSON object, expected a registry"):
        find(small)


def test_a_manifest_without_digest_is_named(small: Small) -> None:
    small.answers["/v2/team/shop/manifests/latest"] = lambda _: (200, {}, {})
    with pytest.raises(PermanentError, match="found no Docker-Content-Digest"):
        find(small, tag="latest")
