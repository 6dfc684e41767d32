"""Many awaited requests as one ordinary iterator, with a bound on what is under way and on what is waiting.

A thread with an event loop of its own runs the requests and is joined before the iterator ends, so that callers
need not be async, may themselves run inside an event loop, and leave nothing running behind. A caller that stops
taking results stops the requests: at most `concurrency` finished results wait to be taken.

This module knows nothing of judges or HTTP.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

ClientT = TypeVar("ClientT")
ResultT = TypeVar("ResultT")


def stream(
    client: Callable[[], AbstractAsyncContextManager[ClientT]],
    ask: Callable[[ClientT, int], Awaitable[ResultT]],
    count: int,
    concurrency: int,
) -> Iterator[tuple[int, ResultT]]:
    """Await `ask(client, i)` for every i below `count` and yield (i, result) as each comes.

    The first error that `ask` raises ends the others and is raised here.
    """
    results: queue.SimpleQueue[tuple[int, ResultT] | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    slots = asyncio.Semaphore(2 * concurrency)
    waiting = iter(range(count))

    async def work(open_client: ClientT) -> None:
        while True:
            await slots.acquire()
            index = next(waiting, None)
            if index is None:
                slots.release()
                return
            results.put((index, await ask(open_client, index)))

    async def work_all() -> None:
        async with client() as open_client:
            tasks = [asyncio.ensure_future(work(open_client)) for _ in range(min(concurrency, count))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    everything = loop.create_task(work_all())

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(everything)
            results.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            results.put(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=run, name="judge-requests", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
            loop.call_soon_threadsafe(slots.release)
    finally:
        loop.call_soon_threadsafe(everything.cancel)
        thread.join()
        loop.close()
