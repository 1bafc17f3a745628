"""Secrets by reference: code and settings name them, and where they are used they are read; in
errors, logs and pages they never stand.

A secret lies in a file of its own, as orchestrators mount them (Kubernetes, Docker, systemd):
``HOLDFAST_SECRETS/NAME``; or in an environment variable of that name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from holdfast.errors import NotFoundError

HIDDEN = "•••"

SHORTEST = 6
"""Characters of a secret from which on it is hidden wherever it turns up: shorter ones would be
found in any text."""

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,100}")
_known: set[str] = set()


def secret(name: str) -> str:
    """Read a secret, within a step: ``secret("openai-key")``. From then on it is hidden in what
    this process writes down.

    Args:
        name: of its file in the folder that ``HOLDFAST_SECRETS`` names, or of an environment
            variable.

    Raises:
        NotFoundError: there is no such secret, or the name is none.
    """
    if not _NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is no name of a secret: letters, digits, '.', '_' and '-'")
    folder = os.environ.get("HOLDFAST_SECRETS", "")
    file = Path(folder) / name
    if folder and file.is_file():
        value = file.read_text("utf-8").strip()
    elif name in os.environ:
        value = os.environ[name]
    else:
        where = (
            f"a file {name} in {folder}"
            if folder
            else f"a file {name} in the folder that HOLDFAST_SECRETS names"
        )
        raise NotFoundError(
            f"there is no secret {name!r}: put it into {where}, or into an environment "
            f"variable {name}"
        )
    if len(value) >= SHORTEST:
        _known.add(value)
    return value


def redacted(text: str) -> str:
    """A text without the secrets that this process has read."""
    for value in _known:
        if value in text:
            text = text.replace(value, HIDDEN)
    return text
