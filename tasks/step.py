"""What makes a function a step of a release: a Prefect task, journaled, done only once.

A step writes its intent before it touches the world and its outcome after. When a release
is carried on by another process, a step that has an outcome gives it back and touches nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from string import Formatter
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run
from prefect.tasks import exponential_backoff
from pydantic import TypeAdapter

from tasks.domain.errors import TransientError
from tasks.domain.units import format_share
from tasks.journal import Line
from tasks.record import Record
from tasks.release import Carrier, Release

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 5
BACKOFF = exponential_backoff(backoff_factor=0.5)
"""0.5, 1, 2, 4 and 8 s: a proxy or a supervisor that restarts is back by then."""
ATTEMPT = "-{attempt}"
"""How the names of steps end that may be done twice."""


def only_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what the error says may succeed later, and nothing else."""
    result = state.result(raise_on_failure=False)
    return isinstance(result, TransientError)


def reading(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task of a function that only looks at the world; not journaled."""
    return task(
        name=name,
        task_run_name=_label(name),
        retries=RETRIES,
        retry_delay_seconds=BACKOFF,
        retry_condition_fn=only_transient,
        cache_policy=NO_CACHE,
    )


def for_good(_release: Release, _record: Record, _done: Line) -> bool:
    """An outcome that never grows old."""
    return True


def step(
    name: str,
    *,
    result: Any = None,  # noqa: ANN401 - any type that pydantic reads and writes
    valid: Callable[[Release, Record, Line], bool] = for_good,
) -> Callable[[Callable[Concatenate[Release, P], R]], Task[Concatenate[Release, P], R]]:
    """Make a journaled Prefect task of a verb.

    Args:
        name: The step's name in Prefect and its key in the journal; ``{parameter}`` is filled in.
            A release must not have two steps of one name.
        result: The type that the verb returns, as the journal keeps it.
        valid: Whether a recorded outcome still counts.
    """

    def make(verb: Callable[Concatenate[Release, P], R]) -> Task[Concatenate[Release, P], R]:
        adapter: TypeAdapter[R] = TypeAdapter(result)
        signature = inspect.signature(verb)

        @wraps(verb)
        def journaled(release: Release, *args: P.args, **kwargs: P.kwargs) -> R:
            carrier = Carrier.of(release)
            key = _fill(name, signature.bind(release, *args, **kwargs).arguments)
            record = carrier.record
            done = record.result_of(key)
            if done is not None and valid(release, record, done):
                return adapter.validate_python(done.data["result"])
            carrier.check()
            carrier.write("intent", key)
            given = verb(release, *args, **kwargs)
            carrier.write("outcome", key, result=adapter.dump_python(given, mode="json"))
            return given

        return reading(name)(journaled)

    return make


class _Names(Formatter):
    """Fills names as `str.format` does; ``{share:share}`` writes basis points as percent."""

    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401 - as inherited
        return (
            format_share(value) if format_spec == "share" else str(super().format_field(value, format_spec))
        )


def _label(name: str) -> Callable[[], str]:
    """The name that the run's graph shows: the first of two attempts goes without its number."""

    def shown() -> str:
        first = task_run.parameters.get("attempt") == 1
        return _fill(name.removesuffix(ATTEMPT) if first else name, task_run.parameters)

    return shown


def _fill(name: str, parameters: Mapping[str, Any]) -> str:
    return _Names().vformat(name, (), parameters)
