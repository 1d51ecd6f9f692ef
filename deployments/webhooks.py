"""`davy webhooks`: receives merges from GitHub, GitLab and others, and turns each into one release.

An event is answered 202 once it is on disk, and not before; from then on it is given to Prefect however often this
process is ended, and however long the server stays away. What releases nothing is answered 200 with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from deployments.webhook_answers import ANSWERS, Answer, Health, Refusal, Refused, body_of, headers_of
from deployments.webhook_receiver import Receiver
from deployments.webhook_sender import Dispatcher
from deployments.webhook_services import ServiceFolder
from deployments.webhook_settings import PREFIX, SENDERS, Sender, WebhookSettings
from deployments.webhook_spool import Spool
from tasks.domain.errors import InputError, TransientError
from tasks.domain.settings import settings

log = logging.getLogger("davy.webhooks")


def serve(folder: Path, host: str = "127.0.0.1", port: int = 4300) -> None:
    """Receive merges for the service files of *folder* until the process is ended.

    Behind a proxy, ``FORWARDED_ALLOW_IPS`` has its addresses, so that senders are told apart.

    Raises:
        InputError: No such folder, a setting is wrong, or no sender has a secret; nothing was received.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    app = create_app(folder, read_settings())
    log.info("receiving merges on http://%s:%d", host, port)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


def read_settings() -> WebhookSettings:
    """The settings of this process.

    Raises:
        InputError: One is wrong, or no sender has a secret; not retried.
    """
    try:
        options = WebhookSettings()
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        field = f"{PREFIX}{fault['loc'][0]}".upper()
        raise InputError(field, "a wrong value", fault["msg"]) from None
    known = {sender: bool(options.secrets_of(sender)) for sender in SENDERS}
    for sender, name in SENDERS.items():
        if not known[sender]:
            variable = f"{PREFIX}{name}".upper()
            log.warning(
                "%s events are refused: neither %s nor %s_FILE has a secret", sender, variable, variable
            )
    if not any(known.values()):
        variables = ", ".join(f"{PREFIX}{name}".upper() for name in SENDERS.values())
        raise InputError("secrets", None, f"one of {variables}, or the same with _FILE")
    return options


def create_app(folder: Path, options: WebhookSettings) -> FastAPI:
    """The receiver as an application; while it runs, it gives Prefect what it accepted.

    Raises:
        InputError: No such folder; not retried.
        TransientError: The file of accepted merges can't be opened.
    """
    services = ServiceFolder(folder)
    log.info("services with on_merge: %s", ", ".join(waiting_for_merges(services)) or "none")
    spool = Spool(settings().root / "webhooks" / "merges.sqlite")
    app = FastAPI(
        title="Davy: merges",
        version="1",
        description="Receives events of merges, and releases the services that wait for them.",
        lifespan=_dispatching(Dispatcher(spool, options), spool),
        docs_url=None,
        redoc_url=None,
        exception_handlers={Refused: _refuse, TransientError: _later, HTTPException: _no_such},
    )
    receiver = Receiver(services, spool, options)
    for sender in SENDERS:
        _add_route(app, receiver, sender)
    _add_health(app, spool)
    if options.show_deliveries:
        _add_deliveries(app, spool)
    return app


def _dispatching(
    dispatcher: Dispatcher, spool: Spool
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Gives Prefect what is accepted, for as long as the application runs."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        app.state.dispatching = task = asyncio.create_task(dispatcher.run())
        yield
        task.cancel()
        await asyncio.wait([task])
        spool.close()

    return running


def waiting_for_merges(services: ServiceFolder) -> list[str]:
    """The names of the services that merges release."""
    return sorted(name for name, service in services.services().items() if service.on_merge)


def _add_route(app: FastAPI, receiver: Receiver, sender: Sender) -> None:
    async def receive(request: Request) -> JSONResponse:
        answer = await receiver.receive(sender, request)
        return JSONResponse(answer.model_dump(mode="json"), 202 if answer.status == "accepted" else 200)

    receive.__doc__ = f"Receive an event of a {sender} merge."
    app.post(
        f"/{sender}",
        operation_id=sender,
        response_model=Answer,
        responses=ANSWERS,
        openapi_extra={"parameters": headers_of(sender), "requestBody": body_of(sender)},
    )(receive)


def _add_health(app: FastAPI, spool: Spool) -> None:
    @app.get("/health", response_model=Health, responses={503: {"model": Refusal}})
    async def health() -> dict[str, Any]:
        """Whether merges are kept and sent, and how many releases are in each state."""
        if app.state.dispatching.done():
            raise Refused(503, "dispatcher: found it ended, expected it to run; what is accepted is not sent")
        return {"status": "ok", "releases": await asyncio.to_thread(spool.counts)}


def _add_deliveries(app: FastAPI, spool: Spool) -> None:
    @app.get("/deliveries", responses={503: {"model": Refusal}})
    async def deliveries() -> dict[str, Any]:
        """The last deliveries and releases, newest first."""
        return await asyncio.to_thread(spool.recent)


async def _refuse(_request: Request, error: Refused) -> JSONResponse:
    return _answer(error.status, str(error), error.field, error.headers)


async def _later(_request: Request, error: TransientError) -> JSONResponse:
    log.error("%s", error)
    return _answer(503, str(error), None, {"Retry-After": "10"})


async def _no_such(_request: Request, error: HTTPException) -> JSONResponse:
    return _answer(error.status_code, str(error.detail), None, dict(error.headers or {}))


def _answer(status: int, text: str, field: str | None, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(Refusal(error=text, field=field).model_dump(), status, headers=headers)
