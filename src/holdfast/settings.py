"""Settings: environment variables that begin with ``HOLDFAST_``, read once by the composition root."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.errors import InputError
from holdfast.model.prices import Prices


class Settings(BaseSettings):
    """Where the ledger is and how much a runner does at a time."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore")

    home: Path = Field(default=Path(".holdfast"), description="Directory of the default ledger and of artifacts.")
    ledger: str = Field(default="", description="The ledger: sqlite:///PATH or postgresql://…; by default a file below HOLDFAST_HOME.")
    artifacts: str = Field(
        default="",
        description="Where large values lie: a directory, or s3://BUCKET/PREFIX (also gs://, az://), which runners on several hosts need; "
        "by default beside an SQLite file, and HOLDFAST_HOME/artifacts with PostgreSQL.",
    )
    bus: str = Field(
        default="",
        description="A broker that events are handed on to and received from: nats://HOST:PORT; by default events stay in the ledger.",
    )
    workers: int = Field(default=0, ge=0, le=1024, description="Worker processes; 0 means one per core.")
    backlog: int = Field(default=0, ge=0, description="Most items that may wait to be claimed; further ones are refused. 0: any number.")
    in_flight: int = Field(default=1_000, ge=1, le=100_000, description="Most items in flight.")
    in_flight_mb: int = Field(default=256, ge=1, description="Most megabytes of values in flight.")
    concurrency: int = Field(default=1_000, ge=1, description="Most async attempts at a time.")

    webhook_secrets: Path | None = Field(
        default=None,
        description="File with the secrets (whsec_…, one a line) by which webhooks to `holdfast serve` are signed; without it there are none.",
    )
    notify: Path | None = Field(
        default=None, description="File with Apprise addresses, one a line, to which alerts are delivered (extra: alerts); without it nobody is told."
    )
    page_url: str = Field(default="http://127.0.0.1:8460", description="Where people reach the page: alerts link to it.")
    otlp: str = Field(default="", description="Where traces are exported to by OTLP, http://HOST:4318/v1/traces (extra: otel); empty: nowhere.")
    log: str = Field(default="", description="json: logs are JSON, one object a line, with item, step, attempt and trace; else text.")
    price_cpu_hour: float = Field(default=0.04, ge=0, description="US dollars that an hour of one CPU costs.")
    price_gpu_hour: float = Field(default=1.0, ge=0, description="US dollars that an hour of one GPU costs.")
    price_gb_month: float = Field(default=0.02, ge=0, description="US dollars that a gigabyte of outputs costs for a month.")

    @property
    def ledger_path(self) -> Path | None:
        """The SQLite file; None when the ledger is in PostgreSQL.

        Raises:
            InputError: the ledger is named by a scheme that this version does not serve.
        """
        if not self.ledger:
            return (self.home / "ledger.db").absolute()
        if self.ledger.startswith("sqlite:///"):
            return Path(self.ledger.removeprefix("sqlite:///")).absolute()
        if self.ledger.startswith(("postgresql://", "postgres://")):
            return None
        raise InputError(f"HOLDFAST_LEDGER={self.ledger.split(':')[0]!r}…: write sqlite:///PATH or postgresql://USER@HOST/DATABASE")

    @property
    def ledger_name(self) -> str:
        """The ledger as messages name it."""
        path = self.ledger_path
        return hidden(self.ledger) if path is None else str(path)

    @property
    def artifacts_place(self) -> str:
        """Where artifacts lie: an absolute directory or a URL."""
        if "://" in self.artifacts:
            return self.artifacts
        if self.artifacts:
            return str(Path(self.artifacts).absolute())
        path = self.ledger_path
        return str((self.home / "artifacts").absolute() if path is None else path.with_name(path.name + ".artifacts"))

    @property
    def socket_path(self) -> Path | None:
        """The live runner's socket, beside an SQLite ledger; to PostgreSQL every process writes by itself."""
        path = self.ledger_path
        return None if path is None else path.with_name(path.name + ".sock")

    @property
    def tokens_path(self) -> Path:
        """Where the tokens of `holdfast serve` are kept, as digests."""
        return (self.home / "tokens.json").absolute()

    @property
    def prices(self) -> Prices:
        """What compute and storage cost."""
        return Prices(self.price_cpu_hour, self.price_gpu_hour, self.price_gb_month)

    @property
    def worker_count(self) -> int:
        """Worker processes."""
        return self.workers or os.cpu_count() or 1


def current_user() -> str:
    """Return who runs this process, for the audit log: the login name, or ``uid 1234`` of a user without a passwd entry."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # in a container under an arbitrary user id there is none
        name = ""
    return name.encode("utf-8", "replace").decode().strip() or f"uid {os.getuid()}"


def hidden(url: str) -> str:
    """A ledger's address without its password, for messages."""
    return re.sub(r"(?<=:)[^:@/]+(?=@)", "***", re.sub(r"password=[^&\s]+", "password=***", url))


def read_settings(**given: object) -> Settings:
    """Read the settings; keyword arguments win over the environment.

    Raises:
        InputError: a value that does not fit, named.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"HOLDFAST_{'_'.join(str(part) for part in first['loc']).upper()}: {first['msg']}") from None
