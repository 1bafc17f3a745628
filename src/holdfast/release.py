"""What this release is called: the distribution's name on the package index, its version, and how
to install an extra of it."""

from __future__ import annotations

DISTRIBUTION = "holdfast-pipelines"
"""The name on the package index, where ``holdfast`` belongs to somebody else. The package and the
command are ``holdfast``."""

VERSION = "0.1.0"
"""The release. The build reads it from here, so that no metadata of an installed distribution is
needed to know it."""


def install(extra: str) -> str:
    """Return the command that installs an extra.

    Args:
        extra: its name in ``pyproject.toml``, such as ``postgres``.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
