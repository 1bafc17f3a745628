"""Settings: environment variables that begin with ``HOLDFAST_``, read once by the composition root."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.errors import InputError


class Settings(BaseSettings):
    """Where the ledger is and how much a runner does at a time."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore")

    home: Path = Field(default=Path(".holdfast"), description="Directory of the default ledger and of artifacts.")
    ledger: str = Field(default="", description="The ledger: sqlite:///PATH; by default a file below HOLDFAST_HOME.")
    workers: int = Field(default=0, ge=0, le=1024, description="Worker processes; 0 means one per core.")
    in_flight: int = Field(default=1_000, ge=1, le=100_000, description="Most items in flight.")
    in_flight_mb: int = Field(default=256, ge=1, description="Most megabytes of values in flight.")
    concurrency: int = Field(default=1_000, ge=1, description="Most async attempts at a time.")

    @property
    def ledger_path(self) -> Path:
        """The SQLite file.

        Raises:
            InputError: the ledger is named by a scheme that this version does not serve.
        """
        if not self.ledger:
            return (self.home / "ledger.db").absolute()
        if self.ledger.startswith("sqlite:///"):
            return Path(self.ledger.removeprefix("sqlite:///")).absolute()
        raise InputError(f"HOLDFAST_LEDGER={self.ledger!r}: write sqlite:///PATH")

    @property
    def artifacts_path(self) -> Path:
        """The artifact directory, beside the ledger."""
        return self.ledger_path.with_name(self.ledger_path.name + ".artifacts")

    @property
    def socket_path(self) -> Path:
        """The live runner's socket, beside the ledger."""
        return self.ledger_path.with_name(self.ledger_path.name + ".sock")

    @property
    def worker_count(self) -> int:
        """Worker processes."""
        return self.workers or os.cpu_count() or 1


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
