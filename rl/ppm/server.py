"""A scoring server, for searches on other machines than the process reward model, and the scorer that asks it.

    python -m rl.ppm.server --model outputs/ppm --port 8010
    python recipes/generate_mcts.py --scorer http://localhost:8010 ...

`POST /score` takes {"problems": [...], "paths": [[...], ...]}, a problem and the steps of a solution each, and answers
{"scores": [[...], ...]}. `GET /health` answers {"model", "hash", "format"}: which model it is and how it is read;
`GET /trained_on` {"problem_ids"}: the problems that it has seen. A bad request is answered with 400 and a scorer that
fails with 500, both with {"error": one line}.

The model scores one batch at a time; requests that arrive meanwhile are its next one. There is no access control: the
server is bound to this machine unless `--host` says otherwise.
"""

import argparse
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import httpx2

from data_prep.artefacts import read_trained_on
from data_prep.mcts.scoring import StepScorer
from data_prep.servers import ServerError
from rl.ppm.format import StepFormat

LONGEST_BODY = 256 * 2**20  # bytes of a request
PATHS_PER_REQUEST = 512  # that a `RemoteScorer` sends at once
LOCAL = ("127.0.0.1", "localhost")


class Asked(NamedTuple):
    """What a request wants scored, and where its scores go."""

    problems: list[str]
    paths: list[list[str]]
    scores: Future[list[list[float]]]


def read_request(body: bytes) -> Asked:
    """Raises ValueError for anything but problems and as many lists of steps."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the body is no JSON: {error}") from error
    problems, paths = (found.get(key) if isinstance(found, dict) else None for key in ("problems", "paths"))
    if not isinstance(problems, list) or not all(isinstance(problem, str) for problem in problems):
        raise ValueError('"problems" must be a list of texts')
    if not isinstance(paths, list) or not all(
        isinstance(path, list) and all(isinstance(step, str) for step in path) for path in paths
    ):
        raise ValueError('"paths" must be a list of lists of texts, the steps of a solution each')
    if len(problems) != len(paths):
        raise ValueError(f"{len(problems)} problems and {len(paths)} paths: there must be one problem for each path")
    return Asked(problems, paths, Future())


def check_scores(paths: Sequence[Sequence[str]], scores: Any) -> list[list[float]]:
    """Raises ValueError unless there is a number for each step."""
    if (
        not isinstance(scores, list)
        or [len(path) for path in paths] != [len(row) if isinstance(row, list) else None for row in scores]
        or not all(isinstance(score, int | float) and math.isfinite(score) for row in scores for score in row)
    ):
        raise ValueError(f"the scores of {len(paths)} paths are not one number for each step")
    return scores


def answer(scorer: StepScorer, batch: Sequence[Asked]) -> None:
    """Scores several requests at once; if that fails each by itself, so that one fails no other."""
    problems = [problem for asked in batch for problem in asked.problems]
    paths = [path for asked in batch for path in asked.paths]
    try:
        scores = iter(check_scores(paths, scorer.score(problems, paths)))
    except Exception as error:
        if len(batch) == 1:
            batch[0].scores.set_exception(error)
        else:
            for asked in batch:
                answer(scorer, [asked])
        return
    for asked in batch:
        asked.scores.set_result([next(scores) for _ in asked.paths])


class ScoringServer(ThreadingHTTPServer):
    """Serves a scorer. `health` is what `GET /health` answers, `trained_on` the problems that the model has seen.
    Port 0 takes a free one, see `url`.
    """

    daemon_threads = True

    def __init__(
        self, scorer: StepScorer, health: dict[str, Any], host: str = "127.0.0.1", port: int = 8010,
        trained_on: Iterable[str] = (),
    ):  # fmt: skip
        super().__init__((host, port), Handler)
        self.scorer, self.health, self.trained_on = scorer, health, sorted(trained_on)
        self.url = f"http://{host}:{self.server_address[1]}"
        self.waiting: SimpleQueue[Asked] = SimpleQueue()
        threading.Thread(target=self.score_waiting, name="scorer", daemon=True).start()

    def score_waiting(self) -> None:
        while True:
            batch = [self.waiting.get()]
            while not self.waiting.empty():
                batch.append(self.waiting.get())
            answer(self.scorer, batch)


class Handler(BaseHTTPRequestHandler):
    server: ScoringServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a connection may be silent

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200, self.server.health)
        elif self.path == "/trained_on":
            self.reply(200, {"problem_ids": self.server.trained_on})
        else:
            self.reply(404, {"error": f"there is no {self.path}: GET /health or POST /score"})

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= LONGEST_BODY:
            self.close_connection = True  # the body is not read
            self.reply(400, {"error": f"a request needs a Content-Length of at most {LONGEST_BODY:,}"})
            return
        body = self.rfile.read(length)
        if self.path != "/score":
            self.reply(404, {"error": f"there is no {self.path}: GET /health or POST /score"})
            return
        try:
            asked = read_request(body)
        except ValueError as error:
            self.reply(400, {"error": one_line(error)})
            return
        self.server.waiting.put(asked)
        try:
            self.reply(200, {"scores": asked.scores.result()})
        except Exception as error:
            self.reply(500, {"error": one_line(error)})

    def reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client is gone

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass  # errors are logged, not every request


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class RemoteScorer:
    """A `StepScorer` that asks a scoring server at `url`.

    `timeout`: seconds for one request, its wait for other clients' included. A request that gets no answer is sent
    again up to `retries` times, after `backoff` seconds, doubled each time. `name`, `hash` and `format` are those of
    the server's model. Raises ServerError, a ValueError, if there is no such server, at first and when one is lost.
    """

    def __init__(self, url: str, *, timeout: float = 600.0, retries: int = 5, backoff: float = 1.0):
        self.url, self.retries, self.backoff = url.rstrip("/"), retries, backoff
        # Idle connections are left before the server ends them.
        limits = httpx2.Limits(keepalive_expiry=Handler.timeout / 2)
        self.client = httpx2.Client(timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)), limits=limits)
        health = self.ask(lambda: self.client.get(f"{self.url}/health"), retries=0)
        try:
            self.name, self.hash = str(health["model"]), str(health["hash"])
            self.format = StepFormat.from_dict(health["format"])
        except (KeyError, TypeError) as error:
            raise ServerError(f"{self.url}: no scoring server (python -m rl.ppm.server) of this version") from error

    def trained_on(self) -> set[str]:
        """Ids of the problems that the server's model was trained on, empty if it has no record. Raises ServerError."""
        return set(self.ask(lambda: self.client.get(f"{self.url}/trained_on"), self.retries).get("problem_ids", ()))

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        """See `StepScorer`. Raises ServerError."""
        if len(problems) != len(paths):
            raise ValueError(
                f"{len(problems)} problems and {len(paths)} paths: there must be one problem for each path"
            )
        scores: list[list[float]] = []
        for start in range(0, len(paths), PATHS_PER_REQUEST):
            part = [list(path) for path in paths[start : start + PATHS_PER_REQUEST]]
            scores += self.score_part(list(problems[start : start + PATHS_PER_REQUEST]), part)
        return scores

    def score_part(self, problems: list[str], paths: list[list[str]]) -> list[list[float]]:
        # ASCII: a policy may have written half a character, which UTF-8 does not have.
        body = json.dumps({"problems": problems, "paths": paths}).encode()
        found = self.ask(lambda: self.client.post(f"{self.url}/score", content=body), self.retries)
        try:
            return check_scores(paths, found.get("scores"))
        except ValueError as error:
            raise ServerError(f"{self.url}: {error}") from error

    def ask(self, send: Callable[[], httpx2.Response], retries: int) -> dict[str, Any]:
        """The server's answer."""
        for attempt in range(retries + 1):
            try:
                response = send()
            except httpx2.TransportError as error:
                lost = one_line(error)
            except (httpx2.InvalidURL, httpx2.RequestError) as error:
                raise ServerError(f"{self.url}: {one_line(error)}") from error
            else:
                if response.status_code not in (502, 503, 504):  # of a proxy before it
                    return self.read(response)
                lost = f"answered {response.status_code}"
            if attempt < retries:
                print(f"{self.url}: {lost}; asking again", file=sys.stderr, flush=True)
                time.sleep(self.backoff * 2**attempt)
        again = f", {retries + 1} times" if retries else ""
        raise ServerError(f"{self.url}: no answer from a scoring server{again}: {lost}")

    def read(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServerError(f"{self.url}: no scoring server, it answered {response.status_code} without JSON")
        if response.status_code != 200:
            raise ServerError(f"{self.url}: answered {response.status_code}: {found.get('error', found)}")
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m rl.ppm.server", description="Serves a process reward model.", allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--model", required=True, help="folder of train_ppm.py, or a public process reward model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets every machine ask")
    parser.add_argument("--port", type=int, default=8010, help="0: a free one")
    parser.add_argument("--dtype", default="auto", help="of the weights, as bfloat16; auto: as they are saved")
    options = parser.parse_args(arguments)
    from rl.ppm.scoring import open_scorer

    try:
        scorer: Any = open_scorer(options.model, dtype=options.dtype)
        health = {"model": scorer.name, "hash": scorer.hash, "format": scorer.format.as_dict()}
        trained_on = read_trained_on(options.model) if Path(options.model).is_dir() else ()
        server = ScoringServer(scorer, health, options.host, options.port, trained_on)
    except (ValueError, OSError, OverflowError) as error:
        sys.exit(f"error: {options.host}:{options.port}, {options.model}: {one_line(error)}")
    if options.host not in LOCAL:
        print(f"note: whoever reaches port {server.server_address[1]} of this machine can use this server")
    # Also where it is started in the background (SIGINT is ignored there) and ended by a service manager (SIGTERM).
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    print(f"serving {options.model} at {server.url}: {scorer.format.describe()}", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")


if __name__ == "__main__":
    main()
