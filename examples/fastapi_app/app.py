"""asyncq inside FastAPI: requests enqueue, a worker runs in the same process, or apart.

    pip install "asyncq[embedded]" fastapi uvicorn

All in one process, for a small service:

    ASYNCQ_REDIS_URL=embedded:// uvicorn app:app

Web and worker apart, each as many processes as it needs:

    ASYNCQ_REDIS_URL=redis://localhost:6379/0 uvicorn app:web_only
    ASYNCQ_REDIS_URL=redis://localhost:6379/0 asyncq worker app:mux --processes 2

    curl -X POST localhost:8000/signups -H 'Content-Type: application/json' \
        -d '{"email": "ada@example.com"}'
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from asyncq import Client, DuplicateTaskError, ServeMux, Server, ServerConfig, TaskType

log = logging.getLogger("uvicorn.error")

# The tasks.


class Welcome(BaseModel):
    email: str


send_welcome = TaskType("email:welcome", Welcome, max_retry=5, timeout=30)

mux = ServeMux()


@mux.handle(send_welcome)
async def on_send_welcome(payload: Welcome) -> None:
    log.info("welcome, %s", payload.email)


# The application. The server lives in tasks of its own: it does not disturb the application's,
# and touches no signal handlers. On shutdown running tasks have 8 seconds to finish; what is not
# done by then goes back to its queue.


def make_app(*, with_worker: bool, redis: str | None = None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            client = app.state.queue = await stack.enter_async_context(Client(redis))
            if with_worker:
                server = Server(client, mux, ServerConfig(concurrency=20))
                await stack.enter_async_context(server)
            yield

    app = FastAPI(lifespan=lifespan)
    app.post("/signups", status_code=202)(sign_up)
    return app


def queue(request: Request) -> Client:
    client: Client = request.app.state.queue
    return client


class Accepted(BaseModel):
    task_id: str


async def sign_up(payload: Welcome, queue: Annotated[Client, Depends(queue)]) -> Accepted:
    try:
        info = await queue.enqueue(send_welcome.task(payload), unique=60)
    except DuplicateTaskError:
        raise HTTPException(409, "a welcome is on its way to this address") from None
    return Accepted(task_id=info.id)


app = make_app(with_worker=True)
web_only = make_app(with_worker=False)
