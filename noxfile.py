"""The same words as in CI, for local use: ``nox -s gate``, ``nox -s tests``, ``nox -s lint``,
``nox -s seeds``."""

import sys

import nox

nox.options.sessions = ["gate"]


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Everything that CI runs."""
    session.run(".ci/run", external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The tests alone."""
    session.run("python", "-m", "pytest", *session.posargs, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Formatting, linting, types, layers."""
    for command in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pyright", "--pythonpath", sys.executable],
        ["lint-imports"],
    ):
        session.run(*command, external=True)


@nox.session(venv_backend="none")
def seeds(session: nox.Session) -> None:
    """A thousand seeds of the simulator."""
    session.run(
        "python", "-m", "holdfast.testing", *(session.posargs or ["--seeds", "1000"]), external=True
    )
