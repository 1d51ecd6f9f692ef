"""Where Davy keeps its state and which ports its embedded parts use.

Every value can be set by an environment variable of the same name with ``DAVY_`` before it,
or by a file ``.davy.toml`` in the folder where the command runs.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tasks.domain.units import Duration


class Settings(BaseSettings):
    """The embedded stack's folder, ports and clocks."""

    model_config = SettingsConfigDict(env_prefix="DAVY_", toml_file=".davy.toml", extra="forbid", frozen=True)

    home: Path = Field(Path(".davy"), description="folder of everything that Davy writes")
    prefect_port: int = Field(4200, ge=1024, le=65535, description="Prefect's server and UI")
    supervisor_port: int = Field(9001, ge=1024, le=65535, description="the process supervisor")
    envoy_port: int = Field(9901, ge=1024, le=65535, description="Envoy's admin interface")
    approvals_port: int = Field(4202, ge=1024, le=65535, description="the page that approvers' links open")
    approvals_host: str = Field("127.0.0.1", description="the address that this page listens on")
    approvals_url: str = Field("", description="where approvers reach that page; empty for this machine")
    approvals_key_file: Path | None = Field(
        None, description="file of the key of approvers' links; empty for one in the state folder"
    )
    prefect_url: str = Field("", description="where Prefect's server answers; empty for the embedded one")
    ui_url: str = Field("", description="where people open Prefect's UI; empty for where its server answers")
    replica_ports: tuple[int, int] = Field(
        (20000, 29999), description="first and last port given to replicas of services"
    )
    history: Duration = Field(timedelta(hours=3), description="how long samples are kept")
    lease_ttl: Duration = Field(
        timedelta(seconds=15),
        ge=timedelta(milliseconds=500),
        description="a lease that is not renewed for so long has expired",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before ``.davy.toml``."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def root(self) -> Path:
        """The state folder, absolute."""
        return self.home.expanduser().absolute()

    @property
    def journals(self) -> Path:
        """One folder per service, one file per release."""
        return self.root / "journal"

    @property
    def routes(self) -> Path:
        """What Envoy reads: one folder per service, with its lease."""
        return self.root / "routes"

    @property
    def replicas(self) -> Path:
        """What the supervisor reads: one file per replica of a service."""
        return self.root / "replicas"

    @property
    def samples(self) -> Path:
        """The sampler's bounded history (SQLite)."""
        return self.root / "samples.sqlite"

    @property
    def approvals(self) -> str:
        """Where approvers' links lead."""
        return self.approvals_url.rstrip("/") or f"http://127.0.0.1:{self.approvals_port}"

    @property
    def approvals_key(self) -> Path:
        """What approvers' links are signed with; made when it is first needed."""
        return self.approvals_key_file or self.root / "approvals.key"

    @property
    def watcher_pulse(self) -> Path:
        """Touched by the watcher at each round."""
        return self.root / "watcher.pulse"


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
