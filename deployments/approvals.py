"""The page that an approver's link opens: the evidence, and a form whose decision counts as verified.

Run it with ``python -m deployments.approvals``; the supervisor keeps it up. Opening the page changes
nothing, since mail programs open links by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from importlib.resources import files
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from tasks.approval import decide
from tasks.domain.errors import ConflictError, DavyError, InputError
from tasks.domain.gates import Choice
from tasks.domain.settings import settings
from tasks.links import Link, read_link
from tasks.record import Record

LIMIT = 16_384
"""Bytes of a form."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'",
}
"""The address is a secret, so nothing keeps it or passes it on; the page needs nothing else."""


def make_app() -> FastAPI:
    """The application."""
    app = FastAPI(title="Davy's approvals", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/approve/{token}")
    def show(token: str) -> HTMLResponse:
        return _answer(lambda: page(read_link(token)))

    @app.post("/approve/{token}")
    async def take(token: str, request: Request) -> HTMLResponse:
        if int(request.headers.get("content-length") or LIMIT + 1) > LIMIT:
            return HTMLResponse(told("The form is too long."), 413, HEADERS)
        said = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        return _answer(lambda: act(read_link(token), said))

    return app


def page(link: Link) -> str:
    """What there is to decide, or why there is nothing."""
    from tasks.report.evidence import question_at, terms_at  # noqa: PLC0415 - draws, which takes a second to import
    from tasks.report.page import page_of  # noqa: PLC0415
    from tasks.report.story import story_of  # noqa: PLC0415

    record = still_open(link)
    gate = record.gate
    if gate is None:
        return told("The release waits at no gate.")
    form = _template("approve.html.j2").render(
        question=question_at(record, gate),
        terms=terms_at(record, gate),
        decisions=record.decisions,
        approver=link.approver,
        plan=gate.plan[:12],
    )
    return page_of(story_of(record), Markup(form))  # noqa: S704 - the template has escaped what is in it


def act(link: Link, said: dict[str, str]) -> str:
    """Write the decision; say what it means.

    Raises:
        InputError: A field is wrong, or the decision does not count; not retried.
        ConflictError: There is nothing to decide any more; not retried.
        TransientError: Others kept writing to the journal; retried by the person.
    """
    still_open(link)
    choice, minutes = said.get("decision", ""), said.get("minutes", "30")
    if choice not in list(Choice):
        raise InputError("decision", choice, "approve, reject or hold")
    if not (minutes.isascii() and minutes.isdecimal() and 1 <= int(minutes) <= 10_080):  # noqa: PLR2004 - a week
        raise InputError("minutes", minutes, "a number from 1 to 10080")
    held_for = timedelta(minutes=int(minutes)) if choice == Choice.HOLD else timedelta(0)
    made = decide(
        link.journal,
        Choice(choice),
        by=link.approver,
        reason=said.get("reason", "")[:1000],
        plan=link.plan,
        verified=True,
        held_for=held_for,
    )
    return told(f"Recorded for {link.service}: {made.choice} by {made}.")


def still_open(link: Link) -> Record:
    """The release, which still waits for this link's decision.

    Raises:
        ConflictError: It does not; not retried.
    """
    record = Record.read(link.journal) if link.journal.exists() else None
    gate = record.gate if record else None
    if record is None or gate is None or gate.point != link.point or record.reverting or record.ended:
        msg = f"{link.release}: found it to wait at gate {link.point} no more, so there is nothing to decide"
        raise ConflictError(msg)
    if link.is_used(record):
        msg = f"{link.release}: found this link used, expected one that was not; it is good for one decision"
        raise ConflictError(msg)
    if gate.plan != link.plan:
        msg = f"{link.release}: found the plan changed since this link was made, expected the newest link"
        raise ConflictError(msg)
    return record


def told(sentence: str) -> str:
    """A page of one sentence."""
    return _template("told.html.j2").render(sentence=sentence)


def _answer(make: Callable[[], str]) -> HTMLResponse:
    try:
        return HTMLResponse(make(), 200, HEADERS)
    except ConflictError as error:
        return HTMLResponse(told(str(error)), 409, HEADERS)
    except InputError as error:
        return HTMLResponse(told(str(error)), 400, HEADERS)
    except DavyError as error:
        return HTMLResponse(told(f"{error}; please try again"), 503, HEADERS)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(files("tasks.report").joinpath(name).read_text())


if __name__ == "__main__":
    uvicorn.run(make_app(), host=settings().approvals_host, port=settings().approvals_port, access_log=False)
