"""Server-sent events: a browser, or a program, hears when something has changed.

It then asks again for what it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from holdfast.server.access import Person
from holdfast.server.api_reads import Here
from holdfast.server.rights import needs

router = APIRouter(prefix="/api/v1", tags=["look"])

LOOK_S = 0.5
KEEP_ALIVE_S = 15.0


@router.get("/stream", response_class=StreamingResponse)
async def stream(
    request: Request, here: Here, person: Annotated[Person, needs("view")]
) -> StreamingResponse:
    """An event ``changed`` whenever anything has changed, at most twice a second.

    Its data is the number of the change.
    """

    async def events() -> AsyncIterator[bytes]:
        seen, silent = -1, 0.0
        yield b"retry: 2000\n\n"
        while not await request.is_disconnected() and not here.closing.is_set():
            version = here.watcher.version
            if version != seen:
                seen, silent = version, 0.0
                yield f"event: changed\ndata: {version}\n\n".encode()
            elif silent >= KEEP_ALIVE_S:
                silent = 0.0
                yield b": still here\n\n"
            await asyncio.sleep(LOOK_S)
            silent += LOOK_S

    return StreamingResponse(events(), media_type="text/event-stream")
