"""Settings: environment variables that begin with ``HOLDFAST_``, read once by the composition
root."""

from __future__ import annotations

import errno
import getpass
import inspect
import os
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.errors import DefinitionError, InputError, LedgerRefusedError, LedgerUnavailableError
from holdfast.model.arguments import refusal
from holdfast.model.hiding import hidden
from holdfast.model.kinds import meant, shown
from holdfast.model.prices import Prices
from holdfast.model.size import bytes_of

PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
)
"""What the operating system refuses for now: a full or failing disk, too many open files."""

_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


with warnings.catch_warnings():
    # of what pydantic had of this name in its first version, nothing is used
    warnings.filterwarnings("ignore", 'Field name "schema"')

    class _Apart(BaseSettings):
        schema: str = Field(  # type: ignore[assignment]
            default="holdfast",
            description="The schema of a PostgreSQL ledger's tables; the first process makes "
            "it. Ledgers in two schemas "
            "of one database have nothing to do with each other.",
        )


class Settings(_Apart):
    """Where the ledger is and how much a runner does at a time."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore", env_ignore_empty=True)

    home: Path = Field(
        default=Path(".holdfast"),
        validate_default=True,
        description="Directory of the default ledger, of artifacts, of tokens, and of what "
        "this host remembers of ledgers.",
    )
    ledger: str = Field(
        default="",
        description="The ledger: `sqlite:///PATH`, with lock and socket beside the file, or "
        "`postgresql://USER@HOST/DATABASE`. Empty: `ledger.db` below `HOLDFAST_HOME`.",
    )
    project: str = Field(
        default="default",
        description="Whose items these are. A ledger belongs to the project that made it and "
        "refuses every other. On one PostgreSQL server, `HOLDFAST_SCHEMA` keeps projects apart.",
    )
    artifacts: str = Field(
        default="",
        description="Where values above 64 KiB lie: a directory, or `s3://BUCKET/PREFIX`, "
        "`gs://…`, `az://…` (extra `objects`), which runners on several hosts need. Empty: "
        "beside an SQLite file; with PostgreSQL, `artifacts` below `HOLDFAST_HOME`.",
    )
    bus: str = Field(
        default="",
        description="A broker to which events are sent and from which they are received: "
        "`nats://HOST:PORT` (extra `nats`). Empty: events stay in the ledger.",
    )
    workers: int = Field(
        json_schema_extra={"unit": "processes"},
        default=0,
        ge=0,
        le=1024,
        description="Worker processes. 0: one per core.",
    )
    worker_calls: int = Field(
        json_schema_extra={"unit": "calls"},
        default=0,
        ge=0,
        description="Calls after which a worker process is replaced. 0: never.",
    )
    worker_memory: str = Field(
        json_schema_extra={"unit": "bytes, or a size such as 4GB"},
        default="",
        description="Resident memory that a worker process and its children may hold. An "
        "attempt above it fails with class `memory`. A worker that holds 90 % of it between "
        "two calls is replaced. Empty: no limit.",
    )
    memory_reserve: str = Field(
        json_schema_extra={"unit": "bytes, or a size such as 1GB"},
        default="",
        description="Free memory below which the largest worker is killed. "
        "Empty: 5 % of the machine or container, at least 256 MB "
        "(a tenth of a small machine) and at most 2 GB. 0: no worker is killed.",
    )
    backlog: int = Field(
        json_schema_extra={"unit": "items"},
        default=0,
        ge=0,
        description="Most items that may wait to be claimed. Further ones are refused with "
        "`BacklogFullError`; `holdfast run` waits. 0: any number.",
    )
    input_mb: int = Field(
        json_schema_extra={"unit": "MB"},
        default=1_024,
        ge=1,
        description="Largest input: a file, or a line of a file.",
    )
    in_flight: int = Field(
        json_schema_extra={"unit": "items"},
        default=1_000,
        ge=1,
        le=100_000,
        description="Most items that a runner holds at once.",
    )
    in_flight_mb: int = Field(
        json_schema_extra={"unit": "MB"},
        default=256,
        ge=1,
        description="Most values that a runner holds in memory at once.",
    )
    concurrency: int = Field(
        json_schema_extra={"unit": "attempts"},
        default=1_000,
        ge=1,
        description="Most `async def` attempts that run at once.",
    )

    webhook_secrets: Path | None = Field(
        default=None,
        description="File with the secrets (`whsec_…`, one a line) with which webhooks to "
        "`holdfast serve` are signed. Empty: webhooks are refused.",
    )
    signing_key: str = Field(
        default="",
        description="The private key (Ed25519, PEM) that signs heads of the audit log: a "
        "file, or `env:NAME` (extra `signing`). Empty: the end of "
        "the audit log is not anchored.",
    )
    notify: Path | None = Field(
        default=None,
        description="File with Apprise addresses, one a line, to which alerts are delivered "
        "(extra `alerts`). Empty: alerts are only shown.",
    )
    page_url: str = Field(
        default="http://127.0.0.1:8460",
        description="Where people reach the dashboard. Alerts link to it.",
    )
    otlp: str = Field(
        default="",
        description="Where traces are sent by OTLP: `http://HOST:4318/v1/traces` (extra "
        "`otel`). Empty: nowhere.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning",
        description="The lowest level that is logged to stderr; also `--log-level` before the "
        "command.",
    )
    log: str = Field(
        default="",
        description="`json`: logs are JSON, one object a line, with item, step, attempt and "
        "trace. Empty: text.",
    )
    price_cpu_hour: float = Field(
        json_schema_extra={"unit": "US dollars"},
        default=0.04,
        ge=0,
        allow_inf_nan=False,
        description="Price of one CPU for an hour.",
    )
    price_gpu_hour: float = Field(
        json_schema_extra={"unit": "US dollars"},
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Price of one GPU for an hour.",
    )
    price_gb_month: float = Field(
        json_schema_extra={"unit": "US dollars"},
        default=0.02,
        ge=0,
        allow_inf_nan=False,
        description="Price of storing a gigabyte of outputs for a month.",
    )

    @field_validator("home", "webhook_secrets", "notify")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Where it is does not change when something changes the directory of this process."""
        return None if path is None else absolute(path)

    @field_validator("signing_key")
    @classmethod
    def _absolute_key(cls, reference: str) -> str:
        return (
            reference
            if not reference or reference.startswith("env:")
            else str(absolute(Path(reference)))
        )

    @field_validator("artifacts")
    @classmethod
    def _absolute_artifacts(cls, place: str) -> str:
        return place if not place or "://" in place else str(absolute(Path(place)))

    @field_validator("project")
    @classmethod
    def _name(cls, text: str) -> str:
        if not _PROJECT.fullmatch(text):
            raise ValueError(
                "give up to 63 letters, digits, dots, dashes and underscores, a letter or "
                "digit first"
            )
        return text

    @field_validator("schema")
    @classmethod
    def _schema(cls, text: str) -> str:
        if (
            not text
            or len(text.encode("utf-8", "replace")) > 63
            or not text.isprintable()
            or text.startswith("pg_")
        ):
            raise ValueError("give a name of at most 63 bytes that does not begin with pg_")
        return text

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, text: str) -> str:
        return text.lower() if isinstance(text, str) else text

    @field_validator("ledger")
    @classmethod
    def _absolute_ledger(cls, text: str) -> str:
        if text.startswith("sqlite:///"):
            return "sqlite:///" + str(absolute(Path(text.removeprefix("sqlite:///"))))
        return text

    @field_validator("worker_memory", "memory_reserve")
    @classmethod
    def _size(cls, text: str) -> str:
        try:
            size_in(text)
        except DefinitionError as error:
            raise ValueError(str(error)) from None
        return text

    @property
    def ledger_path(self) -> Path | None:
        """The SQLite file, links resolved, so that lock, socket and artifacts lie beside the same
        one whatever it is called; None when the ledger is in PostgreSQL.

        Raises:
            InputError: the ledger is named by a scheme that this version does not serve.
        """
        if not self.ledger:
            return Path(os.path.realpath(self.home / "ledger.db"))
        if self.ledger.startswith("sqlite:///"):
            return Path(os.path.realpath(self.ledger.removeprefix("sqlite:///")))
        if self.ledger.startswith(("postgresql://", "postgres://")):
            return None
        raise InputError(
            f"HOLDFAST_LEDGER={hidden(self.ledger)!r}: write sqlite:///PATH or "
            "postgresql://USER@HOST/DATABASE"
        )

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
            return self.artifacts
        path = self.ledger_path
        return str(
            self.home / "artifacts" if path is None else path.with_name(path.name + ".artifacts")
        )

    @property
    def socket_path(self) -> Path | None:
        """The live runner's socket, beside an SQLite ledger; to PostgreSQL every process writes by
        itself."""
        path = self.ledger_path
        return None if path is None else path.with_name(path.name + ".sock")

    @property
    def tokens_path(self) -> Path:
        """Where the tokens of `holdfast serve` are kept, as digests."""
        return self.home / "tokens.json"

    @property
    def prices(self) -> Prices:
        """What compute and storage cost."""
        return Prices(self.price_cpu_hour, self.price_gpu_hour, self.price_gb_month)

    @property
    def worker_count(self) -> int:
        """Worker processes."""
        return self.workers or os.cpu_count() or 1

    @property
    def worker_memory_bytes(self) -> int:
        """Bytes that a worker and its children may hold; 0: any number."""
        return size_in(self.worker_memory) or 0

    @property
    def memory_reserve_bytes(self) -> int | None:
        """Free bytes below which the largest worker is killed; None: by the machine's size."""
        return size_in(self.memory_reserve)


def size_in(text: str) -> int | None:
    """The bytes that a setting names: a number with a unit or a number of bytes; 0 as it is, None
    for empty text.

    Raises:
        DefinitionError: it is no size.
    """
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    return bytes_of(text)


def current_user() -> str:
    """Return who runs this process, for the audit log: the login name, or ``uid 1234`` of a user
    without a passwd entry."""
    try:
        name = getpass.getuser()
    except (
        KeyError,
        OSError,
        ImportError,
    ):  # in a container under an arbitrary user id there is none
        name = ""
    return name.encode("utf-8", "replace").decode().strip() or f"uid {os.getuid()}"


def make_private(folder: Path) -> None:
    """Make a folder, and its parents, that its owner can enter, whatever the umask is: another
    thread may have just set it.

    A folder of ours that is there already and that its owner cannot enter is mended.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o700 != 0o700:
        with suppress(OSError):  # somebody else's, or on a disk that is only read
            folder.chmod(0o700)


def make_folder(folder: Path, what: str, setting: str = "HOLDFAST_HOME") -> None:
    """Make a folder that others cannot read, if it is not there.

    Args:
        folder: which.
        what: what it is for, for the message: ``the ledger lies there``.
        setting: the environment variable that names it.

    Raises:
        LedgerRefusedError: it cannot be made.
        LedgerUnavailableError: the disk is full or failing.
    """
    try:
        make_private(folder)
    except OSError as error:
        if error.errno in PASSING:
            raise LedgerUnavailableError(
                f"{folder} cannot be made ({error.strerror}): {what}. Free space; it goes on "
                "by itself then"
            ) from None
        raise LedgerRefusedError(
            f"{folder} cannot be made ({error.strerror}): {what}. Set {setting} to a folder "
            "that this user can write"
        ) from None


def absolute(path: Path) -> Path:
    """A path from the root.

    Raises:
        InputError: it is relative, and the working directory is gone; or its name is no text.
    """
    try:
        str(path).encode()
        return path.absolute()
    except UnicodeEncodeError:
        raise InputError(
            f"{str(path)!r} has bytes that are not UTF-8: give it another name"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} is relative, and there is no working directory ({error.strerror}): set "
            "HOLDFAST_HOME to an absolute path"
        ) from None


def read_settings(**given: object) -> Settings:
    """Read the settings; keyword arguments win over the environment.

    Raises:
        InputError: an unknown keyword, or a value that does not fit: the keyword with the caller's
            file and line, or the environment variable.
    """
    known = Settings.model_fields
    for name, value in given.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}"
            raise refusal(
                "App()",
                f"there is no argument {name!r}{meant(name, known) or ';'} {takes}",
                InputError,
            )
        if isinstance(value, bool) and known[name].annotation in (int, float, str):
            _refuse(name, value, "it must be no bool", True)
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        _refuse(name, first["input"], first["msg"], name in given)


def signature() -> inspect.Signature:
    """What ``App(…)`` takes, for ``help()``: the settings, or each of them by name."""
    keyword, either = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    settings = inspect.Parameter("settings", either, default=None, annotation="Settings | None")
    fields = Settings.model_fields.items()
    return inspect.Signature(
        [
            settings,
            *(
                inspect.Parameter(name, keyword, default=one.default, annotation=one.annotation)
                for name, one in fields
            ),
        ]
    )


def _refuse(name: str, value: object, why: str, given: bool) -> NoReturn:
    """Refuse a setting: by the keyword that was given, or by the environment variable."""
    told = hidden(shown(value))
    about = Settings.model_fields[name].description if name in Settings.model_fields else ""
    problem = f"is not allowed: {why[:1].lower()}{why[1:]}. {about}"
    if given:
        raise refusal("App()", f"{name}={told} {problem}", InputError)
    raise InputError(f"HOLDFAST_{name.upper()}={told} {problem}")
