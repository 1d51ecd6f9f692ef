"""`davy demo`: a shop with users, released well and badly by every strategy, and what they noticed.

Four services of the shop, one per strategy, are under load all the time. Each gets a good
version, then a bad one of a different kind. What the table says is read from the proxy's
access log and from the load's own record, not from what Davy believes.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments import stack
from deployments.acts import Started, start_release
from deployments.observations import Observation, Stay, experience, observe
from deployments.service_files import load
from infra.local.load import Load
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Outcome, Slot, Window
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.record import Record

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "deployments" / "examples"
STRATEGIES = ("rolling", "blue-green", "canary", "blue-green-canary")
FIRST, GOOD = "1.0", "1.1"
BAD = {
    "rolling": "1.2-leak",
    "blue-green": "1.2-sick",
    "canary": "1.2-errors",
    "blue-green-canary": "1.2-slow",
}
LEGEND = """\
1.2-leak leaks memory until it dies; 1.2-sick never becomes healthy; 1.2-errors fails 5 % of its
requests; 1.2-slow is slow at the 99th percentile only. failed: requests, by the version that failed
them; share: the largest that the version had in any second; back in: from its first error to all
traffic on stable.
"""
RATE = 80
"""Requests per second to each of the four services."""
LOAD_AT_MOST = timedelta(minutes=6)
RELEASE_WITHIN = timedelta(minutes=2)
PORTS_TRIED = 50
SETTLE = 1.0
"""Seconds for the last answers and log lines."""


@dataclass(frozen=True)
class Shown:
    """One release of the demo, as the data plane saw it."""

    strategy: str
    version: str
    expected: Outcome
    record: Record
    seen: Observation
    lost_by_users: int

    @property
    def duration(self) -> timedelta:
        """From the release's first line to its last."""
        return (self.record.ended.at if self.record.ended else datetime.now(UTC)) - self.record.opened_at

    @property
    def share(self) -> float:
        """The largest share that the version had in any second, in percent."""
        return self.seen.largest_share.get(self.version, 0.0)

    @property
    def is_right(self) -> bool:
        """The outcome is the expected one, and only a bad version failed requests."""
        failed = {version for version, count in self.seen.failed_by_version.items() if count}
        guilty = {self.version} if self.expected is Outcome.ROLLED_BACK else set()
        good_lost = self.lost_by_users if self.expected is Outcome.PROMOTED else 0
        return self.record.outcome is self.expected and failed <= guilty and not good_lost


def run(console: Console, *, keep: bool) -> int:
    """Show it; 0 only if every outcome is the expected one and no good release failed a request."""
    began = time.monotonic()
    with a_stack_of_its_own(console, keep=keep):
        services = {name: ready(load(EXAMPLES / f"shop-{name}.yaml")) for name in STRATEGIES}
        console.print("\n[bold]The first version of four services[/]")
        together(console, services, dict.fromkeys(STRATEGIES, FIRST))
        urls = [f"http://127.0.0.1:{service.envoy.port}" for service in services.values()]
        record = settings().root / "load.jsonl"
        console.print(f"\n[bold]Users arrive: {RATE * len(urls)} requests a second[/]")
        with Load(urls, rate=RATE, seconds=LOAD_AT_MOST.total_seconds(), record=record):
            time.sleep(SETTLE)
            console.print("\n[bold]A good version by each strategy[/]")
            good = together(console, services, dict.fromkeys(STRATEGIES, GOOD))
            console.print("\n[bold]A bad version of each kind[/]")
            bad = together(console, services, BAD)
            time.sleep(SETTLE)
        shown = [show(services[name], record, good[name], Outcome.PROMOTED) for name in STRATEGIES]
        shown += [show(services[name], record, bad[name], Outcome.ROLLED_BACK) for name in STRATEGIES]
        total = experience(record, Window(shown[0].record.opened_at - timedelta(hours=1), datetime.now(UTC)))
        console.print(table(shown))
        console.print(LEGEND)
        console.print(f"{total.requests} requests in all, {len(total.failures)} failed at their users")
    right = all(one.is_right for one in shown)
    console.print(
        "[green]Every outcome was the expected one; no good release failed a request.[/]"
        if right
        else "[red]Not everything came out as expected.[/]"
    )
    console.print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if right else 1


@contextmanager
def a_stack_of_its_own(console: Console, *, keep: bool) -> Iterator[None]:
    """An embedded stack in a folder and on ports of the demo's own; afterwards nothing is left."""
    os.environ["DAVY_HOME"] = str(settings().root / "demo")
    for name in ("prefect_port", "envoy_port", "supervisor_port", "approvals_port"):
        os.environ[f"DAVY_{name.upper()}"] = str(free_port(getattr(settings(), name)))
    os.chdir(ROOT)
    settings.cache_clear()
    console.print(f"[bold]An embedded stack in {settings().root}[/]")
    try:
        stack.up(lambda line: console.print(f"  {line}"))
        yield
    finally:
        if keep:
            console.print(f"Left running; 'DAVY_HOME={settings().root} davy down' ends it.")
        else:
            stack.down()
            shutil.rmtree(settings().root, ignore_errors=True)


def ready(service: ServiceFile) -> ServiceFile:
    """The service on ports that are free: its own where they are."""
    router = service.envoy
    update = {"port": free_port(router.port)}
    if router.preview_port:
        update["preview_port"] = free_port(router.preview_port)
    return service.model_copy(update={"router": router.model_copy(update=update)})


def together(
    console: Console, services: dict[str, ServiceFile], versions: dict[str, str]
) -> dict[str, Record]:
    """Release a version of each service side by side; say each step; return how they ended."""
    with ThreadPoolExecutor(len(services)) as pool:
        starting = {
            name: pool.submit(start_release, service, versions[name], say=console.print)
            for name, service in services.items()
        }
        started = {name: future.result() for name, future in starting.items()}
    records: dict[str, Record] = {}
    said: dict[str, int] = dict.fromkeys(started, 0)
    deadline = time.monotonic() + RELEASE_WITHIN.total_seconds()
    while len(records) < len(started):
        for name, one in started.items():
            if name not in records:
                record = Record.read(one.journal)
                said[name] += say_steps(console, one, record, said[name])
                if record.ended:
                    records[name] = record
        if time.monotonic() > deadline:
            msg = f"demo: {sorted(set(started) - set(records))} not ended within {RELEASE_WITHIN}"
            raise PermanentError(msg)
        time.sleep(0.1)
    return records


def say_steps(console: Console, started: Started, record: Record, said: int) -> int:
    """Print what has happened since; return how many lines that were."""
    for line in record.lines[said:]:
        prefix = f"  [dim]{line.at.astimezone():%H:%M:%S}[/] {started.service:<23} {started.version:<11}"
        if line.kind == "live":
            console.print(f"{prefix} live: {share_words(line.data['split'])}")
        elif line.kind == "reverting":
            console.print(f"{prefix} [red]going back:[/] {escape(line.data['reason'].splitlines()[0][:110])}")
        elif line.kind == "ended":
            console.print(f"{prefix} [bold]{line.data['outcome']}[/]")
    return len(record.lines) - said


def share_words(split: dict[str, int]) -> str:
    """A split in words."""
    return ", ".join(f"{slot} {share / 100:g} %" for slot, share in split.items())


def show(service: ServiceFile, load_record: Path, record: Record, expected: Outcome) -> Shown:
    """What the data plane and the users saw of one release."""
    assert record.ended is not None  # noqa: S101 - `together` returns ended ones only
    window = Window(record.opened_at, record.ended.at + timedelta(seconds=SETTLE))
    seen = observe(
        settings().root / "logs" / f"{service.service}.access.log", service.service, window, stays(record)
    )
    lost = experience(load_record, window, f"http://127.0.0.1:{service.envoy.port}").failures
    return Shown(service.strategy, record.opening.version, expected, record, seen, len(lost))  # type: ignore[attr-defined]


def stays(record: Record) -> list[Stay]:
    """Who lives in which slot while the release runs."""
    old, start = record.opening.stable, record.opened_at
    old_slots = (old.slot, Slot.BASELINE) if old else ()
    return [
        Stay(slot, old.version if old and slot in old_slots else record.opening.version, start)
        for slot in Slot
    ]


def table(shown: list[Shown]) -> Table:
    """What came out."""
    rows = Table(
        title="\nWhat users noticed",
        title_justify="left",
        header_style="dim",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("strategy", "version", "outcome"):
        rows.add_column(column, no_wrap=True)
    for column in ("took", "requests", "failed", "share", "back in"):
        rows.add_column(column, justify="right", no_wrap=True)
    for one in shown:
        failed = (
            ", ".join(f"{count} by {version}" for version, count in one.seen.failed_by_version.items()) or "0"
        )
        back = one.seen.exposure(one.version)
        colour = "green" if one.is_right else "red"
        rows.add_row(
            one.strategy,
            one.version,
            f"[{colour}]{one.record.outcome}[/]",
            f"{one.duration.total_seconds():.1f} s",
            str(one.seen.requests),
            failed,
            f"{one.share:.0f} %",
            f"{back.total_seconds():.1f} s" if back is not None else "-",
        )
    return rows


def free_port(wanted: int) -> int:
    """The next port from *wanted* on where nothing listens."""
    for port in range(wanted, wanted + PORTS_TRIED):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise InputError("port", wanted, f"a free one among the {PORTS_TRIED} from there")
