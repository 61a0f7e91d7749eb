"""The scoring server and its client, over real sockets; once with a real model, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest

from data_prep.servers import ServerError
from rl.ppm import server as module
from rl.ppm.format import StepFormat
from rl.ppm.scoring import open_scorer
from rl.ppm.server import RemoteScorer, ScoringServer

FORMAT = StepFormat("{problem}\n", scale=2.0)


class Lengths:
    """Scores a step by the length of problem and path; as a model does, it fails the whole batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        self.batches.append(len(paths))
        self.gate.wait(10)
        if "broken" in problems:
            raise ValueError("the scorer: 1 of 1 scores\nare no numbers")
        return [
            [-1 / (1 + len(problem) + sum(map(len, path[: i + 1]))) for i in range(len(path))]
            for problem, path in zip(problems, paths, strict=True)
        ]


@contextmanager
def served(scorer: Any) -> Iterator[str]:
    with ScoringServer(scorer, {"model": "lengths", "hash": "abc", "format": FORMAT.as_dict()}, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering(*replies: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these replies in turn (status 0: it hangs up), and the paths that were asked."""
    asked: list[str] = []

    class Scripted(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = replies[min(len(asked), len(replies) - 1)]
            asked.append(self.path)
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


PROBLEMS, PATHS = ["one", "zwei", "three"], [["a step", " und\n\u2028noch einer"], [], ["ки \ud83d"]]


def test_a_remote_scorer_scores_as_the_scorer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATHS_PER_REQUEST", 2)
    scorer = Lengths()
    with served(scorer) as url:
        remote = RemoteScorer(url + "/")
        assert (remote.name, remote.hash, remote.format) == ("lengths", "abc", FORMAT)
        assert remote.score(PROBLEMS, PATHS) == Lengths().score(PROBLEMS, PATHS)
        assert scorer.batches == [2, 1]
        assert remote.score([], []) == []
        with pytest.raises(ValueError, match="3 problems and 1 paths"):
            remote.score(PROBLEMS, PATHS[:1])


def test_requests_that_wait_are_one_batch_and_a_bad_one_fails_alone() -> None:
    scorer = Lengths()
    found: dict[str, Any] = {}

    def ask(problem: str) -> None:
        try:
            found[problem] = remote.score([problem], [["a step"]])
        except ValueError as error:
            found[problem] = str(error)

    with served(scorer) as url:
        remote = RemoteScorer(url)
        scorer.gate.clear()
        threads = [threading.Thread(target=ask, args=(problem,)) for problem in ("first", "good", "broken", "fine")]
        threads[0].start()
        until(lambda: scorer.batches == [1])
        for thread in threads[1:]:
            thread.start()
        time.sleep(0.5)  # until they wait
        scorer.gate.set()
        for thread in threads:
            thread.join()
    assert scorer.batches[:2] == [1, 3]
    assert found.pop("broken") == f"{url}: answered 500: the scorer: 1 of 1 scores are no numbers"
    assert found == {problem: Lengths().score([problem], [["a step"]]) for problem in ("first", "good", "fine")}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "the body is no JSON"),
        (b"\xff\xfe\x00", "the body is no JSON"),
        (b"[]", '"problems" must be a list of texts'),
        (b'{"problems": [1], "paths": [[]]}', '"problems" must be a list of texts'),
        (b'{"problems": ["a"], "paths": ["b"]}', '"paths" must be a list of lists of texts'),
        (b'{"problems": ["a"], "paths": [[null]]}', '"paths" must be a list of lists of texts'),
        (b'{"problems": ["a"], "paths": []}', "1 problems and 0 paths"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body: bytes, error: str) -> None:
    scorer = Lengths()
    with served(scorer) as url:
        response = httpx2.post(f"{url}/score", content=body)
    assert response.status_code == 400
    assert error in response.json()["error"]
    assert "\n" not in response.json()["error"]
    assert scorer.batches == []


def test_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_BODY", 5)
    with served(Lengths()) as url:
        assert httpx2.get(f"{url}/health").json()["format"]["scale"] == 2.0
        assert httpx2.get(f"{url}/score").status_code == 404
        assert httpx2.post(f"{url}/v1", content=b"abc").json() == {
            "error": "there is no /v1: GET /health or POST /score"
        }
        assert httpx2.post(f"{url}/score", content=b"abcdef").status_code == 400
        assert httpx2.post(f"{url}/score", content=iter([b"abc"])).status_code == 400  # without a length


@pytest.mark.parametrize("scores", [[[0.5], [0.1]], [[0.5, 0.5]], [[float("nan")]], [0.5], None, [["1"]]])
def test_a_scorer_that_does_not_score_every_step_has_failed(scores: Any) -> None:
    class Wrong:
        def score(self, problems: Any, paths: Any) -> Any:
            return scores

    with served(Wrong()) as url, pytest.raises(ServerError, match="answered 500: the scores of 1 paths are not"):
        RemoteScorer(url).score(["a"], [["b"]])


HEALTH = (200, json.dumps({"model": "m", "hash": "h", "format": FORMAT.as_dict()}))


def test_a_lost_answer_is_asked_for_again() -> None:
    with answering(HEALTH, (0, ""), (503, ""), (200, '{"scores": [[0.25]]}')) as (url, asked):
        assert RemoteScorer(url, backoff=0.01).score(["a"], [["b"]]) == [[0.25]]
    assert asked == ["/health", *["/score"] * 3]


@pytest.mark.parametrize(
    ("reply", "error", "n_asked"),
    [
        ((0, ""), "no answer from a scoring server, 3 times: ", 3),
        ((503, ""), "no answer from a scoring server, 3 times: answered 503", 3),
        ((500, '{"error": "out of memory"}'), "answered 500: out of memory", 1),
        ((200, "<html>"), "no scoring server, it answered 200 without JSON", 1),
        ((200, "{}"), "the scores of 1 paths are not one number for each step", 1),
    ],
)
def test_a_server_that_fails_is_one_line(reply: tuple[int, str], error: str, n_asked: int) -> None:
    with answering(HEALTH, reply) as (url, asked), pytest.raises(ServerError, match=error) as raised:
        RemoteScorer(url, retries=2, backoff=0.01).score(["a"], [["b"]])
    assert str(raised.value).startswith(url)
    assert "\n" not in str(raised.value)
    assert asked.count("/score") == n_asked


def test_no_server_is_one_line() -> None:
    with answering(HEALTH) as (url, _):
        pass
    for name, error in ((url, "no answer from a scoring server: "), ("http://", "http:"), ("http://[", r"http://\[: ")):
        with pytest.raises(ServerError, match=error):
            RemoteScorer(name)
    for status, body in ((200, '{"object": "list"}'), (200, '{"model": 1, "hash": 2, "format": {"x": 1}}')):
        with answering((status, body)) as (url, _), pytest.raises(ServerError, match="of this version"):
            RemoteScorer(url)
    with answering((404, '{"detail": "Not Found"}')) as (url, _), pytest.raises(ServerError, match="answered 404: "):
        RemoteScorer(url)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_model_served_as_a_user_does(ppm: Any, tmp_path: Any, ending: signal.Signals) -> None:
    ppm[0].save_pretrained(tmp_path)
    ppm[1].save_pretrained(tmp_path)
    command = [sys.executable, "-m", "rl.ppm.server", "--model", str(tmp_path), "--port", "0"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "learnt from preferences of steps" in line
            remote: Any = open_scorer(line.split(" at ")[1].split(": ")[0])
            alone: Any = open_scorer(str(tmp_path))
            assert (remote.hash, remote.format) == (alone.hash, alone.format)
            problems, paths = ["Ann has 4 coins."] * 2, [["<code>\nann = 4\n<end_of_step>", "\nprint(ann)"], ["x"]]
            for mine, theirs in zip(remote.score(problems, paths), alone.score(problems, paths), strict=True):
                assert mine == pytest.approx(theirs, abs=1e-6)
        finally:
            process.send_signal(ending)
            try:
                out, err = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0
    assert out == "\nended\n", err


def test_a_server_that_cannot_start_is_one_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        module.main(["--model", str(tmp_path / "nothing")])
    assert str(raised.value).startswith("error: ")
    assert "\n" not in str(raised.value)
