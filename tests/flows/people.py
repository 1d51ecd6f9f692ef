"""People who say something to a release while it runs, each as soon as it has come to where they wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tasks.acts import say
from tasks.domain.acts import Act
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.record import Record
from tasks.step_acts import step_now
from tests.rig.fakes import make_service

LONG = "5m"
GATES = {"approvers": ["ann", "bob"], "within": "20s"}


def long_bakes(strategy: str, bake: str = LONG, **more: Any) -> ServiceFile:  # noqa: ANN401 - keys of a service file
    """A service file whose every step bakes for so long."""
    clocks: dict[str, dict[str, Any]] = {
        "rolling": {"bake": bake},
        "blue-green": {"watch": bake},
        "blue-green-canary": {"watch": bake, "trickle": {"share": 5, "bake": bake}},
        "canary": {"watch": bake, "steps": [{"share": share, "bake": bake} for share in (5, 25)]},
    }
    return make_service(strategy, **clocks[strategy] | more)


def record() -> Record:
    """The release as its journal has it now."""
    return Record.read(journal_of("shop", "r1"))


@contextmanager
def somebody_looks(look: Callable[[Record], None]) -> Iterator[None]:
    """Somebody looks at the release every few milliseconds, until the first thing that goes wrong for them."""
    over, errors = threading.Event(), []

    def watch() -> None:
        while not over.wait(0.005) and not errors:
            if not journal_of("shop", "r1").exists():
                continue
            try:
                look(record())
            except Exception as error:  # noqa: BLE001 - the test raises it
                errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def people(*deeds: tuple[str, Callable[[], object]]) -> Iterator[None]:
    """Each deed is done once, as soon as the release bakes in the step, or waits at the gate, that stands before it."""
    left = list(deeds)

    def look(now: Record) -> None:
        place = f"gate {now.gate.point}" if now.gate else step_now(now.lines)
        if left and place == left[0][0]:
            left.pop(0)[1]()

    with somebody_looks(look):
        yield


def saying(act: Act, by: str = "ann", **more: Any) -> Callable[[], object]:  # noqa: ANN401 - arguments of `say`
    """Says it, once it is called."""
    return lambda: say(journal_of("shop", "r1"), act, by=by, **{"reason": "seen enough"} | more)
