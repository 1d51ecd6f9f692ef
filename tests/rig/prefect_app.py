"""The server that Prefect's own test harness starts, whose writers take turns as the embedded one's do."""

from __future__ import annotations

from fastapi import FastAPI
from prefect.server.api import server

from deployments.prefect_server import take_turns


def create_app() -> FastAPI:
    """Prefect's application."""
    take_turns()
    return server.create_app()
