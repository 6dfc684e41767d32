"""A real HTTP server on loopback that answers like an OpenAI-compatible one, in whatever way a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, str | bytes]
Act = Callable[[str, Body], Reply]


class Server:
    """Answers POSTs by `act(path, body)`, remembers them, and counts how many were under way at once."""

    def __init__(self, act: Act, models: Reply = (200, '{"object": "list", "data": []}')) -> None:
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(*models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append({name.lower(): value for name, value in self.headers.items()})
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                try:
                    self._send(*act(self.path, body))
                except ConnectionAbortedError:
                    self.close_connection = True
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with server._lock:
                        server._now -= 1

            def _send(self, status: int, content: str | bytes) -> None:
                data = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(act: Act, **options: Any) -> Iterator[Server]:
    server = Server(act, **options)
    try:
        yield server
    finally:
        server.close()


def said(body: Body) -> str:
    """The question of a request."""
    if "prompt" in body:
        return str(body["prompt"])
    return next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")


def is_probe(body: Body) -> bool:
    return any(words in said(body) for words in ("Say yes", "Count from 1", "Write ten random words"))


def chat_reply(
    text: str | None,
    steps: list[tuple[str, dict[str, float]]] | None = None,
    usage: tuple[int, int] = (5, 3),
    **choice: Any,
) -> Reply:
    content = [
        {
            "token": token,
            "logprob": log(top[token]),
            "top_logprobs": [{"token": name, "logprob": log(share)} for name, share in top.items()],
        }
        for token, top in steps or []
    ]
    one: Body = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **choice}
    if steps:
        one["logprobs"] = {"content": content}
    return 200, json.dumps({"choices": [one], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
