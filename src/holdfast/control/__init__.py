"""The runner's socket: verbs from other processes reach the one writer of an SQLite ledger.

A unix socket (mode 0600) beside the ledger. Whoever connects is greeted first, so that nothing is
sent to a runner that does not listen. Then each command is answered within a second: with its
result; with ``unavailable, retry after`` when it was surely not handed to the ledger; with
``unknown`` when it was and has not come back. Asked again under the same identity, it is done once.
"""

from holdfast.control.remote import RemoteLedger, reach_writer
from holdfast.control.serving import serve
from holdfast.control.wire import Reply

__all__ = ["RemoteLedger", "Reply", "reach_writer", "serve"]
