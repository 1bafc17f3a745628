"""Which failures are the same: a fingerprint of step, error type, normalised message and top frame."""

from __future__ import annotations

import hashlib
import re

from holdfast.model.failure import Failure

_PATTERNS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`"""), "<text>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"(?:/[\w.@-]+){2,}"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=\w*\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)
_FRAME = re.compile(r'^  File "([^"]*)", line \d+, in (.+)$', re.MULTILINE)
_LIMIT = 300


def normalised(message: str) -> str:
    """The message without what differs from item to item: quoted text, numbers, ids, paths, addresses."""
    text = message[:1_000]
    for pattern, mark in _PATTERNS:
        text = pattern.sub(mark, text)
    return " ".join(text.split())[:_LIMIT]


def top_frame(failure: Failure) -> str:
    """Where it was raised, as ``file.py:function``, without the line, which moves with every edit; of the innermost frame that is no
    installed package's, or of the innermost at all. Empty without a traceback."""
    frames = [(path, function) for path, function in _FRAME.findall(failure.traceback)]
    own = [one for one in frames if "site-packages" not in one[0] and "/lib/python" not in one[0] and not one[0].startswith("<")]
    path, function = (own or frames or [("", "")])[-1]
    return f"{path.replace(chr(92), '/').rpartition('/')[2]}:{function}" if path else ""


def fingerprint(step: str, failure: Failure) -> str:
    """Sixteen hexadecimal digits: failures with the same ones have, as far as can be told, one cause."""
    parts = (step, failure.error_class, failure.error, normalised(failure.message), top_frame(failure))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
