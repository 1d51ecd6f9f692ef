"""Servers that people would be told by: Slack's Web API, a mail server, a webhook's receiver."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

LOST = "lost"
"""The request is carried out, but the connection ends before the answer."""


@dataclass(frozen=True)
class Answer:
    """What a server says instead of doing what it is asked."""

    status: int = 200
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The body, read as its type says."""
        if self.headers.get("content-type", "").startswith("application/json"):
            return json.loads(self.body)
        return dict(parse_qsl(self.body.decode()))


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and gives the answers that it was told to, one for each request.

    Attributes:
        may_answer: While it is not set, requests wait.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, list[Answer | str]] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def act(self, request: Request) -> Answer:
        """What it does where it was not told otherwise."""
        del request
        return Answer(204)

    def answer(self, request: Request) -> Answer | None:
        """The answer to a request; None for none."""
        self.requests.append(request)
        self.may_answer.wait(60)
        told = self.answers.get(request.path) or []
        first = told.pop(0) if told else None
        if isinstance(first, Answer):
            return first
        done = self.act(request)
        return None if first == LOST else done


class FakeSlack(Receiver):
    """Slack's Web API: one workspace with one app, which is a member of some channels.

    Attributes:
        posts: What the channels hold, oldest first.
        scopes: What the app may do.
    """

    def __init__(self, port: int, token: str) -> None:
        self.token = token
        self.channels = {"#releases": "C0RELEASES", "C0RELEASES": "C0RELEASES"}
        self.scopes = {"chat:write", "channels:history"}
        self.posts: list[dict[str, Any]] = []
        super().__init__(port)

    def act(self, request: Request) -> Answer:
        """Carry out a call as Slack does."""
        asked, method = request.json, request.path.rpartition("/")[2]
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _no("invalid_auth")
        scope = "chat:write" if method.startswith("chat.") else "channels:history"
        if scope not in self.scopes:
            return _no("missing_scope")
        if asked["channel"] not in self.channels or (scope != "chat:write" and "#" in asked["channel"]):
            return _no("channel_not_found")
        do = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.replies": self._replies,
            "conversations.history": self._history,
        }
        return do[method](asked, self.channels[asked["channel"]])

    def _post(self, asked: dict[str, Any], channel: str) -> Answer:
        if any(len(block["text"]["text"]) > 3000 for block in asked["blocks"]) or len(asked["blocks"]) > 50:
            return _no("invalid_blocks")
        if asked.get("thread_ts") and asked["thread_ts"] not in {post["ts"] for post in self.posts}:
            return _no("thread_not_found")
        post = {**asked, "ts": f"{time.time():.6f}", "channel": channel}
        self.posts.append(post)
        return Answer(200, {"ok": True, "channel": channel, "ts": post["ts"], "message": post})

    def _update(self, asked: dict[str, Any], channel: str) -> Answer:
        if asked["channel"] != channel:  # unlike other methods, it takes ids only
            return _no("channel_not_found")
        found = [post for post in self.posts if post["ts"] == asked["ts"]]
        if not found:
            return _no("message_not_found")
        found[0] |= {"text": asked["text"], "blocks": asked["blocks"]}
        return Answer(200, {"ok": True, "channel": channel, "ts": asked["ts"], "text": asked["text"]})

    def _replies(self, asked: dict[str, Any], channel: str) -> Answer:
        del channel
        own = [post for post in self.posts if asked["ts"] in (post["ts"], post.get("thread_ts"))]
        return Answer(200, {"ok": True, "messages": own})

    def _history(self, asked: dict[str, Any], channel: str) -> Answer:
        del asked
        own = [post for post in self.posts if post["channel"] == channel and not post.get("thread_ts")]
        return Answer(200, {"ok": True, "messages": own})


def _no(code: str) -> Answer:
    return Answer(200, {"ok": False, "error": code})


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver

    def do_POST(self) -> None:
        """Take what is sent."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(Request(time.time(), self.path, headers, body))
        if answer is None:
            self.close_connection = True
            return
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


@contextmanager
def serving(server: Receiver) -> Iterator[None]:
    """Let *server* answer."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def events(receiver: Receiver) -> list[str]:
    """What a webhook's receiver was told of, in order."""
    return [request.json["event"] for request in receiver.requests]
