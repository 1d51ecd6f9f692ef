"""The verbs that speak to a release while it runs: promote, hold, skip, retry."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated

import typer

from deployments.acts import user
from deployments.command import By, Json, Reason, Service, app, verb
from tasks.acts import act_on
from tasks.domain.acts import Act
from tasks.domain.errors import InputError
from tasks.domain.units import parse_duration

Longer = Annotated[str, typer.Argument(help="How much longer from now, such as 10m.", metavar="DURATION")]


@app.command()
@verb
def promote(service: Service, *, by: By = "", reason: Reason = "", as_json: Json = False) -> None:
    """Skip what is left of a release's bakes and analyses; the guard still guards, and gates still ask."""
    _said(service, Act.PROMOTE, by, reason, as_json=as_json)


@app.command()
@verb
def hold(
    service: Service, duration: Longer, *, by: By = "", reason: Reason = "", as_json: Json = False
) -> None:
    """Have a release bake longer where it is now; at a gate, have it wait longer."""
    try:
        held_for = parse_duration(duration)
    except ValueError as error:
        raise InputError("hold", duration, "a duration such as 10m") from error
    _said(service, Act.HOLD, by, reason, held_for, as_json=as_json)


@app.command()
@verb
def skip(service: Service, *, by: By = "", reason: Reason = "", as_json: Json = False) -> None:
    """End the bake of now without judging its step; the next step comes as usual."""
    _said(service, Act.SKIP, by, reason, as_json=as_json)


@app.command()
@verb
def retry(service: Service, *, by: By = "", reason: Reason = "", as_json: Json = False) -> None:
    """Begin the bake of now and its analysis anew; what was measured before is not judged."""
    _said(service, Act.RETRY, by, reason, as_json=as_json)


def _said(
    service: str, act: Act, by: str, reason: str, held_for: timedelta = timedelta(0), *, as_json: bool
) -> None:
    by = by or user()
    told = act_on(service, act, by=by, reason=reason, held_for=held_for)
    found = {"service": service, "act": act, "by": by, "reason": reason, "message": told}
    typer.echo(json.dumps(found) if as_json else f"{service}: {told}")
