"""A real HTTP server on the loopback that answers as an OpenAI-compatible one does, and misbehaves when told to.

    with BadServer() as server:
        server.script = ["500", "drop"]  # the next two requests; then it answers properly
        ServerEngine(server.url, "policy").sample(["1+1="], max_new_tokens=4)

Behaviours: `ok`, `500`, `503` and `429` (with Retry-After, see `retry_after`), `stall`, `drop` (in the middle of a
body), `hang up` (without an answer), `text` (not JSON), `html` (status 200), `no choices`, `error 200`, `no usage`,
`400`, `401`, `402`, `403`, `404`, `422`, `301`, `quota`.
"""

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SAYS = {
    "500": "the engine has died",
    "503": "overloaded",
    "400": "This model's maximum context length is 64 tokens.",
    "401": "Incorrect API key provided",
    "402": "out of credit",
    "403": "this key may not use that model",
    "404": "no such page",
    "422": "body -> top_k\n  Extra inputs are not permitted",
}


def continuation(prompt: Any, seed: int, max_tokens: int) -> str:
    """What the server says: letters that depend on the prompt and the seed, as many as `max_tokens` minus an end."""
    digest = hashlib.sha256(json.dumps([prompt, seed]).encode()).hexdigest()
    return " ".join(digest)[: 2 * max_tokens - 2]


class BadServer:
    """`delay`: seconds that each answer takes."""

    def __init__(self, model: str = "policy", delay: float = 0.0):
        self.model = model
        self.delay = delay
        self.script: list[str] = []  # behaviours of the next requests
        self.always = "ok"  # behaviour when the script is over
        self.behave: Any = None  # function of a request's body -> its behaviour, or None: as the script says
        self.choice: dict[str, Any] = {}  # replaces fields of the answer's choice
        self.message: dict[str, Any] = {}  # replaces fields of the answer's message, in a chat
        self.retry_after = "0.2"
        self.requests: list[dict[str, Any]] = []  # bodies of what was asked
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.answered: Counter[str] = Counter()  # behaviours
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.released = threading.Event()  # ends stalls
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listens, after `die` on the same port."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.headers.append(dict(self.headers))
                card = {"id": server.model, "object": "model", "max_model_len": 64}
                if self.path != "/v1/models":
                    send(self, 404, {"error": {"message": SAYS["404"]}})
                elif server.always == "html":
                    send(self, 200, "<html>Welcome</html>")
                elif server.always in SAYS:
                    send(self, int(server.always), {"error": {"message": SAYS[server.always]}})
                else:
                    send(self, 200, {"object": "list", "data": [card]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    server.paths.append(self.path)
                    server.times.append(time.monotonic())
                    server.in_flight += 1
                    server.most_in_flight = max(server.most_in_flight, server.in_flight)
                    behaviour = server.behave(body) if server.behave else None
                    if behaviour is None:
                        behaviour = server.script.pop(0) if server.script else server.always
                    server.answered[behaviour] += 1
                time.sleep(server.delay)
                with server.lock:  # before the answer: the next request may be here before this thread goes on
                    server.in_flight -= 1
                server.answer(self, behaviour, body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:  # a client that went away
                pass

            def process_request(self, request: Any, client_address: Any) -> None:
                connections.append(request)
                super().process_request(request, client_address)

        connections: list[socket.socket] = []
        self.connections = connections
        self.http = Server(("127.0.0.1", self.port), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def die(self) -> None:
        """As a killed process: nobody listens, and the connections are cut."""
        self.http.shutdown()
        self.http.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, handler: BaseHTTPRequestHandler, behaviour: str, body: dict[str, Any]) -> None:
        if behaviour == "stall":
            self.released.wait(60)
            handler.close_connection = True
        elif behaviour == "hang up":
            handler.close_connection = True
        elif behaviour == "drop":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'{"choices": [{"text": "half of')
            handler.close_connection = True
        elif behaviour == "text":
            send(handler, 200, "all right")
        elif behaviour == "html":
            send(handler, 200, "<html><body>Please log in</body></html>")
        elif behaviour == "no choices":
            send(handler, 200, {"object": "text_completion", "choices": []})
        elif behaviour == "error 200":
            send(handler, 200, {"error": {"message": "the provider is away", "code": 502}})
        elif behaviour == "429":
            send(handler, 429, {"error": {"message": "too many requests"}}, {"Retry-After": self.retry_after})
        elif behaviour == "quota":
            send(handler, 429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
        elif behaviour == "301":
            send(handler, 301, "moved", {"Location": "https://example.org/v1"})
        elif behaviour in SAYS:
            said = SAYS[behaviour] + handler.headers.get("Authorization", "") if behaviour == "401" else SAYS[behaviour]
            send(handler, int(behaviour), {"error": {"message": said}})
        elif body["model"] != self.model:
            send(handler, 404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        else:
            answer = self.complete(body, handler.path == "/v1/chat/completions")
            if behaviour == "no usage":
                del answer["usage"]
            send(handler, 200, answer)

    def complete(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        """As vLLM does: text that ends with the text's end, at a stop string, or at the limit."""
        text = continuation(body["messages" if chat else "prompt"], body.get("seed", 0), body["max_tokens"])
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "stop_reason": None}
        n_tokens = len(text.split()) + 1
        for stop in body.get("stop", []):
            if stop in text:
                end = text.index(stop) + len(stop)
                n_tokens = len(text[:end].split())
                text = text[: end if body.get("include_stop_str_in_output") else end - len(stop)]
                choice["stop_reason"] = stop
        if n_tokens >= body["max_tokens"]:
            choice["finish_reason"] = "length"
        choice |= {"message": {"role": "assistant", "content": text} | self.message} if chat else {"text": text}
        return {
            "object": "chat.completion" if chat else "text_completion",
            "model": body["model"],
            "choices": [choice | self.choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": n_tokens},
        }

    def __enter__(self) -> "BadServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.released.set()
        self.die()


def send(handler: BaseHTTPRequestHandler, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
    content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
    handler.send_header("Content-Length", str(len(content)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
