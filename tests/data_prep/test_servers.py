"""`data_prep.servers`: against real HTTP servers in this process that fail in all ways that servers fail."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Headers

from data_prep.engines import Completion, Request
from data_prep.journal import Journal
from data_prep.servers import Prompt, ServerEngine, ServerError, _base, _retry_after
from tests.data_prep.bad_server import BadServer, continuation

PROMPTS = [f"{i} + {i} =" for i in range(12)]
FAST: dict[str, Any] = {"backoff": 0.01, "max_backoff": 0.05, "timeout": 30.0}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def server():
    with BadServer() as server:
        yield server


@pytest.fixture
def engine(server):
    with ServerEngine(server.url, "policy", **FAST) as engine:
        yield engine


@pytest.fixture(scope="module")
def wanted() -> list[list[Completion]]:
    """What an undisturbed run gives."""
    with BadServer() as server, ServerEngine(server.url, "policy", **FAST) as engine:
        return engine.sample(PROMPTS, n=2, max_new_tokens=6, seed=3)


def sample(engine, **more):
    return engine.sample(PROMPTS, n=2, max_new_tokens=6, seed=3, **more)


# What is asked and what comes back.


def test_order_and_contents(server, engine, wanted):
    server.behave = lambda body: time.sleep(0.05) if body["prompt"] in PROMPTS[:3] else None  # the first come last
    result = sample(engine)
    assert result == wanted
    seeds = {(body["prompt"], i): body["seed"] for i, body in enumerate(server.requests)}
    texts = {
        prompt: {continuation(prompt, seed, 6) for (p, _), seed in seeds.items() if p == prompt} for prompt in PROMPTS
    }
    for prompt, completions in zip(PROMPTS, result, strict=True):
        assert {completion.text for completion in completions} == texts[prompt]
        assert [(c.n_tokens, c.finish_reason) for c in completions] == [(6, "length")] * 2


def test_seeds_are_distinct_and_do_not_depend_on_position(server, engine):
    def seeds(prompts, n, seed):
        server.requests.clear()
        engine.sample(prompts, n, max_new_tokens=2, seed=seed)
        return {(str(body["prompt"]), body["seed"]) for body in server.requests}

    first = seeds(PROMPTS, 5, 0)
    assert len({seed for _, seed in first}) == len(PROMPTS) * 5
    assert all(0 <= seed < 2**31 for _, seed in first)
    assert seeds(PROMPTS[::-1], 5, 0) == first
    assert seeds(PROMPTS[3:5], 2, 0) < first
    assert not seeds(PROMPTS, 5, 1) & first


def test_equal_prompts_share_their_continuations(server, engine):
    a, b, c = engine.sample(["x", "y", "x"], n=3, max_new_tokens=4)
    assert a == c != b
    assert len(server.requests) == 6


def test_the_request(server, engine):
    engine.sample(["x"], max_new_tokens=5, temperature=0.7, top_p=0.9, stop=["zz"], seed=1)
    (body,) = server.requests
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": "policy", "prompt": "x", "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "stop": ["zz"],
        "add_special_tokens": False, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }  # fmt: skip
    assert server.paths == ["/v1/completions"]
    assert "Authorization" not in server.headers[0]


def test_openai_only_and_extra(server):
    extra = {"seed": None, "stop_token_ids": [2]}
    with ServerEngine(server.url, "policy", openai_only=True, extra=extra) as engine:
        engine.sample(["x"], max_new_tokens=5)
    assert server.requests == [
        {"model": "policy", "prompt": "x", "max_tokens": 5, "temperature": 0.0, "top_p": 1.0, "stop_token_ids": [2]}
    ]


def test_token_ids(server, engine):
    engine.sample([[5, 6, 7]], max_new_tokens=5)
    assert server.requests[0]["prompt"] == [5, 6, 7]
    assert "add_special_tokens" not in server.requests[0]


def test_messages(server, engine):
    messages = engine.chat_prompt("1+1?", "Be short.")
    assert messages == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1?"}]
    ((completion,),) = engine.sample([messages], max_new_tokens=100)
    assert server.paths == ["/v1/chat/completions"]
    (body,) = server.requests
    assert body["messages"] == messages
    assert "prompt" not in body
    assert "add_special_tokens" not in body
    assert completion.text == continuation(messages, body["seed"], 100)


THOUGHT = "<think>\nwell\n</think>\n\n4"


@pytest.mark.parametrize(
    ("message", "choice", "text"),
    [
        ({"reasoning": "\nwell\n", "content": "\n\n4"}, {}, THOUGHT),
        ({"reasoning_content": "well", "content": "4"}, {}, THOUGHT),
        ({"reasoning": "well", "reasoning_content": "well", "content": "4"}, {}, THOUGHT),
        ({"reasoning": "well", "content": None}, {"finish_reason": "length"}, "<think>\nwell"),
        ({"reasoning": "well", "content": None}, {}, "<think>\nwell"),
        ({"reasoning": None, "content": "4"}, {}, "4"),
        ({"content": None}, {}, ""),
        ({"content": "well\n</think>\n\n4"}, {}, "well\n</think>\n\n4"),  # the template opened the thought
        ({"content": THOUGHT}, {}, THOUGHT),
    ],
)
def test_thoughts_that_come_apart(server, engine, message, choice, text):
    server.message, server.choice = message, choice
    assert engine.sample([engine.chat_prompt("2+2?")], max_new_tokens=100)[0][0].text == text


@pytest.mark.parametrize("chat", [False, True])
def test_stop_strings(server, engine, chat):
    prompt = engine.chat_prompt("x") if chat else "x"
    whole = engine.sample([prompt], max_new_tokens=100)[0][0].text
    at = whole.index(whole[20:24]) + 4
    for stop in ([whole[20:24]], ["zz", whole[20:24]]):
        kept = engine.sample([prompt], max_new_tokens=100, stop=stop, include_stop=True)[0][0]
        left = engine.sample([prompt], max_new_tokens=100, stop=stop)[0][0]
        assert (kept.text, left.text) == (whole[:at], whole[: at - 4])
        assert kept.finish_reason == left.finish_reason == "stop"
        assert kept.n_tokens == left.n_tokens
    assert engine.sample([prompt], max_new_tokens=100, stop=["zz"], include_stop=True)[0][0].text == whole


@pytest.mark.parametrize(
    ("choice", "include", "text"),
    [
        # SGLang with no_stop_trim shows the whole token; other servers keep the string, or ignore `stop` altogether.
        ({"text": "a b.\n\nc", "matched_stop": ".\n\n"}, True, "a b.\n\n"),
        ({"text": "a b.\n\nc", "matched_stop": ".\n\n"}, False, "a b"),
        ({"text": "a b.\n\nc", "finish_reason": "length"}, False, "a b"),
        # A server that tells the string and does not show it.
        ({"text": "a b", "stop_reason": ".\n\n"}, True, "a b.\n\n"),
        ({"text": "a b", "matched_stop": ".\n\n", "stop_reason": None}, False, "a b"),
        # The end of the text, as vLLM and SGLang tell it.
        ({"text": "a b", "stop_reason": None}, True, "a b"),
        ({"text": "a b", "matched_stop": 151645}, True, "a b"),
    ],
)
def test_stop_strings_of_other_servers(server, engine, choice, include, text):
    if "matched_stop" in choice:
        server.complete = lambda body, chat: {  # without a stop_reason
            "choices": [{"finish_reason": "stop"} | choice], "usage": {"completion_tokens": 3},
        }  # fmt: skip
    else:
        server.choice = choice
    ((completion,),) = engine.sample(["x"], max_new_tokens=100, stop=[".\n\n"], include_stop=include)
    assert (completion.text, completion.finish_reason) == (text, "stop")


def test_include_stop_is_refused_where_it_cannot_be_known(server, engine):
    server.complete = lambda body, chat: {
        "choices": [{"text": "a b", "finish_reason": "stop"}], "usage": {"completion_tokens": 3},
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"neither stop_reason nor matched_stop.*needs vLLM or SGLang"):
        engine.sample(["x"], max_new_tokens=9, stop=["z"], include_stop=True)
    assert engine.sample(["x"], max_new_tokens=9, stop=["z"])[0][0].text == "a b"


def test_finish_reasons(server, engine):
    for theirs, ours in (("stop", "stop"), ("eos_token", "stop"), ("length", "length"), ("content_filter", "length")):
        server.choice = {"finish_reason": theirs}
        assert engine.sample([theirs], max_new_tokens=100)[0][0].finish_reason == ours
    server.choice = {"finish_reason": "abort"}
    server.behave = lambda body: server.choice.clear() if len(server.requests) > 6 else None
    assert engine.sample(["x"], max_new_tokens=100)[0][0].finish_reason == "stop"  # asked again
    assert len(server.requests) > 5


def test_no_prompts(server, engine):
    assert engine.sample([], max_new_tokens=3) == []
    assert server.headers == []
    assert not [thread for thread in threading.enumerate() if thread.name == "ServerEngine"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": 0}, "n 0: at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens 0: at least 1"),
        ({"temperature": -1}, "temperature -1: 0 or more"),
        ({"top_p": 0}, "top_p 0: above 0, at most 1"),
        ({"stop": [""]}, "no empty text"),
        ({"include_stop": True}, "only with stop"),
        ({"prompts": [[]]}, "a prompt is text"),
        ({"prompts": [[{"role": "user"}]]}, "a prompt is text"),
        ({"prompts": [[1.5]]}, "a prompt is text"),
    ],
)
def test_wrong_settings(server, engine, more, message):
    with pytest.raises(ValueError, match=message):
        engine.sample(**{"prompts": ["x"], "max_new_tokens": 2} | more)
    assert not server.requests


# The servers.


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        (" http://localhost:8000/v1/ ", "http://localhost:8000/v1"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        ("https://open.bigmodel.cn/api/paas/v4/", "https://open.bigmodel.cn/api/paas/v4"),
        ("https://example.org/v1beta/openai/", "https://example.org/v1beta/openai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_urls(url, base):
    assert _base(url) == base


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "give one like http://localhost:8000"),
        ("", "give one like"),
        ("ftp://x", "give one like"),
        ("http://me:secret@host/v1", "the URL of host holds a password"),
        ("http://host/v1/chat/completions", "without the path of the request"),
        ("http://host/v1?key=secret", "not the URL of a server"),
    ],
)
def test_wrong_urls(url, message):
    with pytest.raises(ValueError, match=message) as error:
        ServerEngine(url, "policy")
    assert "me:secret" not in str(error.value)


def test_check_models_and_room(server):
    with BadServer() as other:
        urls = [server.url + "/", other.url + "/v1", other.url]
        with ServerEngine(urls, "policy") as engine:
            engine.check()
            assert engine.models() == {f"{s.url}/v1": {"policy": 64} for s in (server, other)}
            assert engine.room(["12", "1234"]) == 1  # of 64, which a template may fill
        with ServerEngine(urls, "another") as engine:
            with pytest.raises(ValueError, match="does not tell the context of another: give --max_new_tokens"):
                engine.room(["x"])
            with pytest.raises(ValueError, match=r"/v1 does not serve 'another'; it serves policy$"):
                engine.check()


def test_check_without_a_server(server):
    with BadServer() as dead:
        dead.die()
        with ServerEngine([server.url, dead.url], "policy") as engine:
            with pytest.raises(
                ValueError, match=rf"no server answers at {dead.url}/v1 \(ConnectError.*start it"
            ) as error:
                engine.check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("401", r"/v1/models answers 401 Incorrect API key provided: \$OPENAI_API_KEY is not set"),
        ("500", "/v1/models answers 500 the engine has died"),
        ("html", r"/v1/models lists no models \(<html>Welcome</html>\)"),
    ],
)
def test_check_of_something_else(server, engine, behaviour, message):
    server.always = behaviour
    with pytest.raises(ValueError, match=message):
        engine.check()


# The key.


def test_key(server, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("TEACHER_KEY", "sk-secret\n")
    caplog.set_level(logging.DEBUG)
    with ServerEngine(server.url, "policy", api_key_env="TEACHER_KEY", **FAST) as engine:
        engine.check()
        engine.sample(["x"], max_new_tokens=2)
        assert [headers["Authorization"] for headers in server.headers] == ["Bearer sk-secret"] * 2
        server.always = "401"  # says the key that it got
        with pytest.raises(ValueError, match=r"401 .*\*\*\*: the key in \$TEACHER_KEY is not the right one") as error:
            engine.sample(["x"], max_new_tokens=2)
    assert "secret" not in str(error.value) + caplog.text + repr(vars(engine)["_servers"])


def test_proxy(server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with ServerEngine("http://model.invalid", "policy", **FAST) as engine:
        engine.sample(["x"], max_new_tokens=2)
    assert server.paths == ["http://model.invalid/v1/completions"]


# Failures.


@pytest.mark.parametrize(
    "behaviour", ["500", "503", "hang up", "drop", "text", "html", "no choices", "error 200", "no usage"]
)
def test_asked_again(server, engine, wanted, behaviour):
    server.script = [behaviour, "ok", behaviour, behaviour]
    assert sample(engine) == wanted
    assert (server.answered[behaviour], server.answered["ok"]) == (3, 24)


def test_a_stall_is_asked_again(server, wanted):
    server.script = ["stall"]
    with ServerEngine(server.url, "policy", **FAST | {"timeout": 0.3}) as engine:
        start = time.monotonic()
        assert sample(engine) == wanted
        assert 0.3 <= time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("400", "400 This model's maximum context length is 64 tokens.: .*lower max_new_tokens"),
        ("401", r"401 Incorrect API key provided: \$OPENAI_API_KEY is not set"),
        ("403", r"403 this key may not use that model: \$OPENAI_API_KEY is not set"),
        ("404", "404 no such page: is 'policy' a model that it serves"),
        ("422", "422 body -> top_k Extra inputs are not permitted: .*set openai_only"),
        ("301", "301 moved: give the URL to which it redirects"),
        ("402", "402 out of credit: pay, or"),
        ("quota", "429 You exceeded your quota.: pay, or"),
    ],
)
def test_not_asked_again(server, behaviour, message):
    server.always = behaviour
    with ServerEngine(server.url, "policy", concurrency=2, **FAST) as engine:
        with pytest.raises(ValueError, match=f"^{server.url}/v1/completions answers {message}") as error:
            sample(engine)
    assert not isinstance(error.value, ServerError)
    assert "\n" not in str(error.value)
    assert len(server.requests) <= 2


def test_wrong_model(server):
    with ServerEngine(server.url, "another") as engine:
        with pytest.raises(ValueError, match=r"404 The model `another` does not exist.: is 'another' a model that"):
            sample(engine)


def test_what_is_finished_before_a_refusal_is_kept(server, tmp_path):
    server.behave = lambda body: "400" if body["prompt"] == PROMPTS[6] else None
    with Journal(tmp_path / "j") as journal, ServerEngine(server.url, "policy", concurrency=1, **FAST) as engine:
        with pytest.raises(ValueError, match="maximum context"):
            sample(engine, journal=journal)
        assert len(journal) == 12


def test_retry_after(server, engine, wanted):
    server.script = ["429"]
    assert sample(engine) == wanted
    start, end = server.times[0], server.times[-1]
    assert 0.2 <= end - start < 2
    server.script, server.retry_after = ["429"], "99999"
    with pytest.raises(ServerError, match=r"0 of 1 responses .* too many requests"):  # a day: no use in waiting
        engine.sample(["x"], max_new_tokens=2)


def test_a_url_that_says_429_gets_nothing_until_its_time(server):
    server.script, server.retry_after = ["429"], "0.6"
    with ServerEngine(server.url, "policy", concurrency=4, **FAST) as engine:
        sample(engine)
    times = [t - server.times[0] for t in server.times]
    assert not [t for t in times if 0.3 < t < 0.6]
    assert len([t for t in times if t >= 0.6]) > 10


def test_many_429_are_no_failure_of_a_request(server):
    """Others succeed in between: nothing is wrong, only slow."""
    server.script, server.retry_after = ["429", "429", "429", "ok"] * 12, "0.01"
    with ServerEngine(server.url, "policy", concurrency=2, retries=3, **FAST) as engine:
        assert len(engine.sample(PROMPTS, max_new_tokens=3)) == 12


def test_dates_of_retry_after():
    soon = format_datetime(datetime.now(UTC), usegmt=True)
    assert _retry_after(Headers({"retry-after": "1.5"})) == 1.5
    assert _retry_after(Headers({"retry-after": soon})) == pytest.approx(0, abs=5)
    assert _retry_after(Headers({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
    assert _retry_after(Headers({"retry-after": "later"})) is None
    assert _retry_after(Headers()) is None


def test_pauses_grow(server):
    server.always = "500"
    with ServerEngine(server.url, "policy", retries=6, backoff=0.04, max_backoff=0.2) as engine:
        with pytest.raises(ServerError):
            engine.sample(["x"], max_new_tokens=2)
    pauses = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert len(pauses) == 6
    for pause, longest in zip(pauses, (0.04, 0.08, 0.16, 0.2, 0.2, 0.2), strict=True):
        assert pause >= longest / 2
    assert pauses[5] < 0.6  # 0.64 at least, if it went on doubling


def test_all_urls_dead(server, tmp_path):
    server.die()
    with (
        BadServer() as sick,
        ServerEngine([server.url, sick.url], "policy", concurrency=3, retries=4, **FAST) as engine,
    ):
        sick.always = "500"
        with Journal(tmp_path / "j") as journal, pytest.raises(ServerError) as error:
            sample(engine, journal=journal)
        assert isinstance(error.value, ValueError)
        assert isinstance(error.value, ConnectionError)
        text = str(error.value)
        assert text.startswith("0 of 24 responses are finished, 24 are missing; last errors: ")
        assert f"{server.url}/v1: ConnectError: All connection attempts failed" in text
        assert f"{sick.url}/v1: 500 the engine has died" in text
        assert text.endswith(f"The finished ones are kept in {tmp_path}/j: the same command goes on from there")
        assert "\n" not in text
        # A URL that is left gets single requests: not each of 24 requests its 4 attempts.
        assert len(sick.requests) <= 3 * 3 + 4
        sick.always = "ok"
        assert len(sample(engine)) == 12
        sick.always = "500"
        with pytest.raises(ServerError, match="lost: no journal"):
            sample(engine)


def test_the_next_call_begins_anew(server):
    server.always = "500"
    with ServerEngine(server.url, "policy", retries=1, **FAST) as engine:
        with pytest.raises(ServerError):
            engine.sample(["x"], max_new_tokens=2)
        server.always, server.script = "ok", ["500"]
        assert len(engine.sample(["x"], max_new_tokens=2)) == 1


def test_one_request_that_never_succeeds(server, wanted, tmp_path):
    """All others are finished first; the next run asks for this one alone."""
    server.behave = lambda body: "500" if body["prompt"] == PROMPTS[2] else None
    with (
        Journal(tmp_path / "j") as journal,
        ServerEngine(server.url, "policy", retries=2, concurrency=2, **FAST) as engine,
    ):
        with pytest.raises(
            ServerError, match=r"^22 of 24 responses are finished, 2 are missing; .*500 the engine has died"
        ):
            sample(engine, journal=journal)
        assert len(server.requests) == 22 + 2 * 3
        server.behave = None
        server.requests.clear()
        assert sample(engine, journal=journal) == wanted
        assert {body["prompt"] for body in server.requests} == {PROMPTS[2]}


# A stream of requests, to which others are added meanwhile.


def stream(engine, journal=None, n=2):
    """The completions of PROMPTS, one sample after another; the second begins when the first is there."""
    requests = deque(Request(i, prompt, 0) for i, prompt in enumerate(PROMPTS))
    found = {}
    for request, completion, known in engine.stream(requests, max_new_tokens=6, seed=3, journal=journal):
        found[request.name, request.sample] = completion, known
        if request.sample < n - 1:
            requests.append(request._replace(sample=request.sample + 1))
    return found


def test_a_stream_gives_what_sample_gives(server, wanted, tmp_path):
    server.delay, server.script = 0.02, ["500", "drop", "429"]
    with Journal(tmp_path / "j") as journal, ServerEngine(server.url, "policy", concurrency=3, **FAST) as engine:
        for known in (False, True):
            assert stream(engine, journal) == {
                (i, j): (wanted[i][j], known) for i in range(len(PROMPTS)) for j in range(2)
            }
            assert server.answered["ok"] == 24
        assert server.most_in_flight == 3
        assert sample(engine, journal=journal) == wanted  # the same journal serves both
    assert server.answered["ok"] == 24


def test_a_stream_that_is_left_asks_for_nothing_more(server):
    server.delay = 0.05
    with ServerEngine(server.url, "policy", concurrency=1, **FAST) as engine:
        requests = deque(Request(i, prompt, 0) for i, prompt in enumerate(PROMPTS))
        for _ in engine.stream(requests, max_new_tokens=2):
            break
        time.sleep(0.3)
        assert len(server.requests) <= 2
        assert len(sample(engine)) == 12


def test_failures_in_a_stream(server, tmp_path):
    server.behave = lambda body: "500" if body["prompt"] == PROMPTS[2] else None
    with (
        Journal(tmp_path / "j") as journal,
        ServerEngine(server.url, "policy", retries=2, concurrency=2, **FAST) as engine,
    ):
        with pytest.raises(ServerError, match=r"^22 of 23 responses are finished, 1 are missing; .*the engine has die"):
            stream(engine, journal)
        assert len(journal) == 22  # all others are finished first
        server.behave = lambda body: "400"
        with pytest.raises(ValueError, match="maximum context"):
            stream(engine, journal)
        server.behave = None
        server.die()
        with pytest.raises(ServerError, match=r"^22 of 23 responses are finished, .* same command goes on from there$"):
            stream(engine, journal)


# Several URLs.


def test_work_is_shared(server, wanted):
    with BadServer() as other:
        server.delay = other.delay = 0.02
        with ServerEngine([server.url, other.url], "policy", concurrency=3) as engine:
            assert sample(engine) == wanted
        assert min(len(server.requests), len(other.requests)) >= 8
        assert server.most_in_flight == other.most_in_flight == 3


def test_little_work_is_shared_too(server):
    with BadServer() as other:
        server.delay = other.delay = 0.3
        with ServerEngine([server.url, other.url], "policy") as engine:
            engine.sample(PROMPTS, max_new_tokens=3)
        assert len(server.requests) == len(other.requests) == 6


def test_the_faster_one_gets_more(server):
    with BadServer() as slow:
        server.delay, slow.delay = 0.01, 0.2
        with ServerEngine([slow.url, server.url], "policy", concurrency=2) as engine:
            engine.sample(PROMPTS, n=4, max_new_tokens=3)
        assert len(server.requests) > 2 * len(slow.requests)


def test_one_is_dead(server, wanted, caplog):
    with BadServer() as dead:
        dead.die()
        server.delay = 0.01
        with ServerEngine([dead.url, server.url], "policy", concurrency=2, **FAST) as engine:
            assert sample(engine) == wanted
        assert len(server.requests) == 24
        assert [r.getMessage() for r in caplog.records if "is left" in r.getMessage()] == [
            f"{dead.url}/v1 is left for a while: ConnectError: All connection attempts failed"
        ]


def test_one_dies_and_comes_back(server):
    prompts = [f"{i}" for i in range(100)]
    with BadServer() as other, ServerEngine([server.url, other.url], "policy", concurrency=2, **FAST) as engine:
        wanted = engine.sample(prompts, max_new_tokens=6)
        server.requests.clear()
        server.delay = other.delay = 0.01
        got = {}  # requests that the other one got until it died and until it was back

        def behave(body) -> None:
            if len(server.requests) == 5:
                got["died"] = len(other.requests)
                other.die()
            if len(server.requests) == 40:
                got["back"] = len(other.requests)
                other.start()

        server.behave = behave
        assert engine.sample(prompts, max_new_tokens=6) == wanted
        assert got["back"] <= got["died"] + 2  # those that were just arriving
        assert len(other.requests) > got["back"] + 10


def test_the_only_one_dies_and_comes_back(server, wanted):
    server.delay = 0.01
    with ServerEngine(
        server.url, "policy", concurrency=2, timeout=30, retries=30, backoff=0.01, max_backoff=0.05
    ) as engine:
        engine.sample(["x"], max_new_tokens=3)
        server.die()
        threading.Timer(0.3, server.start).start()
        assert sample(engine) == wanted


def test_a_retry_goes_to_another_url(server, wanted):
    with BadServer() as sick:
        sick.always = "500"
        with ServerEngine([sick.url, server.url], "policy", retries=1, concurrency=30, **FAST) as engine:
            assert sample(engine) == wanted


# Many at once.


def test_bound_of_all_calls_together(server):
    server.delay = 0.02
    with ServerEngine(server.url, "policy", concurrency=5) as engine:
        threads = [
            threading.Thread(target=engine.sample, args=([f"{i} {p}" for p in PROMPTS],), kwargs={"max_new_tokens": 3})
            for i in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.most_in_flight == 5
    assert len(server.requests) == 72


def test_inside_a_running_event_loop(server, engine, wanted):
    async def main():
        return sample(engine), await asyncio.to_thread(sample, engine)

    assert asyncio.run(main()) == (wanted, wanted)


def test_used_again_after_close(server, engine, wanted):
    sample(engine)
    engine.close()
    engine.close()
    assert sample(engine) == wanted


def test_all_calls_give_up_together(server):
    server.always = "500"
    errors = []

    def work(engine, i):
        try:
            engine.sample([f"{i}"], max_new_tokens=2)
        except ServerError as error:
            errors.append(str(error))

    with ServerEngine(server.url, "policy", concurrency=2, retries=4, backoff=0.05, max_backoff=0.2) as engine:
        threads = [threading.Thread(target=work, args=(engine, i)) for i in range(20)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - start < 3  # one after the other would take longer
    assert len(errors) == 20
    assert all(error.startswith("0 of 1 responses") and "500 the engine has died" in error for error in errors)


def test_close_ends_what_is_under_way(server):
    server.always = "stall"
    ends = []

    def work(engine):
        try:
            sample(engine)
        except CancelledError as error:
            ends.append(error)

    engine = ServerEngine(server.url, "policy", **FAST)
    thread = threading.Thread(target=work, args=(engine,))
    thread.start()
    while len(server.requests) < 3:
        time.sleep(0.01)
    engine.close()
    thread.join(10)
    assert len(ends) == 1
    server.always = "ok"
    assert len(sample(engine)) == 12
    engine.close()


# Going on after an end.


def test_resume_sends_what_is_missing(server, wanted, tmp_path):
    path = tmp_path / "j"
    with ServerEngine(server.url, "policy", concurrency=2, retries=1, **FAST) as engine:
        with Journal(path) as journal:
            server.behave = lambda body: "500" if len(server.requests) > 10 else None
            with pytest.raises(ServerError) as raised:
                sample(engine, journal=journal)
            finished = len(journal)  # 10, or 9: the other request was still under way when the server was given up
            assert finished in (9, 10)
            assert str(raised.value).startswith(f"{finished} of 24 responses are finished, {24 - finished} are missing")
        server.behave = None
        time.sleep(0.5)  # a request that was cancelled may still be on its way
        while server.in_flight:
            time.sleep(0.01)
        server.requests.clear()
        with Journal(path) as journal:
            assert sample(engine, journal=journal) == wanted
            assert len(server.requests) == 24 - finished
            assert sample(engine, journal=journal) == wanted
            assert len(server.requests) == 24 - finished
            # More samples of the same prompts, or other settings, are other requests.
            assert [row[:2] for row in engine.sample(PROMPTS, n=3, max_new_tokens=6, seed=3, journal=journal)] == wanted
            assert len(server.requests) == 24 - finished + 12
            for more in (
                {"temperature": 1.0},
                {"stop": ["zz"]},
                {"stop": ["zz"], "include_stop": True},
                {"top_p": 0.5},
            ):
                sample(engine, journal=journal, **more)
            assert len(server.requests) == 24 - finished + 12 + 4 * 24
        with (
            ServerEngine(server.url, "another") as other,
            Journal(path) as journal,
            pytest.raises(ValueError, match="404"),
        ):
            sample(other, journal=journal)


RUN = """
import dataclasses, json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from data_prep.journal import Journal
from data_prep.servers import ServerEngine
from tests.data_prep.test_servers import PROMPTS
with Journal(sys.argv[2]) as journal, ServerEngine(sys.argv[1], "policy", concurrency=2) as engine:
    result = engine.sample(PROMPTS, n=2, max_new_tokens=6, seed=3, journal=journal)
    print(json.dumps([[dataclasses.astuple(c) for c in row] for row in result]))
"""


def run(server: BadServer, path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, server.url, str(path)], cwd=root, stdout=subprocess.PIPE, text=True
    )


def test_kill_in_the_middle(server, wanted, tmp_path):
    path = tmp_path / "j"
    server.delay = 0.1
    process = run(server, path)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().count("\n") >= 5):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with path.open("a") as file:  # as if it had been killed in the middle of a line
        file.write('{"key": "0123')
    finished = path.read_text().count("\n")
    assert 5 <= finished < 24
    server.delay = 0.0
    server.requests.clear()
    process = run(server, path)
    output, _ = process.communicate(timeout=60)
    assert [[Completion(*c) for c in row] for row in json.loads(output)] == wanted
    assert len(server.requests) == 24 - finished


def test_an_interrupt_cancels_what_is_under_way(server, tmp_path):
    server.always = "stall"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, server.url, str(tmp_path / "j")],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not server.requests:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupt_leaves_a_usable_engine(server, engine, wanted):
    server.always = "stall"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            sample(engine)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 10
    while engine._servers[0].in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.always = "ok"
    assert sample(engine) == wanted


# A real server.


@pytest.mark.vllm
def test_a_real_vllm(tmp_path):
    """Any vLLM server with a text model, at $REDSTAR_VLLM_URL."""
    url = os.environ.get("REDSTAR_VLLM_URL")
    if not url:
        pytest.skip("needs a vLLM server: set $REDSTAR_VLLM_URL, as http://localhost:8000")
    with ServerEngine(url, "") as engine:
        (model, room), *_ = next(iter(engine.models().values())).items()
    with ServerEngine(url, model, concurrency=8, retries=0) as engine, Journal(tmp_path / "j") as journal:
        engine.check()
        assert room is not None
        assert engine.room(["1"]) == max(1, room - 3 - 200)
        prompts: list[Prompt] = ["1 2 3 4", "a b a b a", engine.chat_prompt("How many coins are 3 coins and 4 coins?")]
        long = engine.sample(prompts, max_new_tokens=12)
        assert all(1 <= c.n_tokens <= 12 for (c,) in long)
        for (short,), (whole,) in zip(engine.sample(prompts, max_new_tokens=2), long, strict=True):
            assert whole.text.startswith(short.text.rstrip("\ufffd"))
            assert (short.n_tokens, short.finish_reason) == (2, "length") or short == whole
        for prompt, (whole,) in zip(prompts, long, strict=True):
            stop = whole.text[len(whole.text) // 2 :][:2]
            ((without,),) = engine.sample([prompt], max_new_tokens=12, stop=[stop, "\x00never"])
            ((with_stop,),) = engine.sample([prompt], max_new_tokens=12, stop=[stop, "\x00never"], include_stop=True)
            assert without.text == whole.text[: whole.text.index(stop)]
            assert with_stop.text == without.text + stop
            assert without.finish_reason == with_stop.finish_reason == "stop"
            assert without.n_tokens == with_stop.n_tokens <= whole.n_tokens
        drawn: dict[str, Any] = {"n": 8, "max_new_tokens": 12, "temperature": 2.0}
        first = engine.sample(prompts, **drawn, seed=1, journal=journal)
        assert len({c.text for c in first[0]}) > 4
        assert engine.sample(prompts[:1], **drawn, seed=2)[0] != first[0]
        assert engine.sample(prompts, **drawn, seed=1, journal=journal) == first
        with pytest.raises(ValueError, match=r"answers 400 .*lower max_new_tokens"):
            engine.sample(prompts, max_new_tokens=room + 1)
    with ServerEngine(url, "no such model") as engine:
        with pytest.raises(ValueError, match=r"does not serve 'no such model'; it serves"):
            engine.check()
        with pytest.raises(ValueError, match=r"404 .*is 'no such model' a model that it serves"):
            engine.sample(["x"], max_new_tokens=2)
