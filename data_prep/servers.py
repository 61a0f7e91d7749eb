"""Sampling from OpenAI-compatible servers: vLLM, SGLang, hosted models; one URL or several that serve the same model.

    vllm serve MODEL --port 8000 &
    ServerEngine("http://localhost:8000", "MODEL").sample(["1 + 1 ="], max_new_tokens=8)

What is sent beyond OpenAI's own fields (`openai_only=True` leaves it out); vLLM and SGLang ignore fields that they do
not know, hosted servers often refuse them (400 or 422):

- `add_special_tokens: false` with a text, which has its special tokens already. vLLM obeys
  (https://docs.vllm.ai/en/stable/serving/openai_compatible_server/). SGLang knows no such field and begins a text with
  the tokenizer's BOS, where it has one (https://github.com/sgl-project/sglang/pull/8291): give it token ids instead.
- `top_k`, `min_p` and the penalties at their neutral values: both servers otherwise take them from the model's
  generation_config.json (https://github.com/vllm-project/vllm/pull/12622; SGLang's --sampling-defaults).
- `include_stop_str_in_output` (vLLM) and `no_stop_trim` (SGLang) with `include_stop`.

vLLM obeys `seed` (in bfloat16 the batch may still tip a token); SGLang repeats itself only with deterministic inference
(https://docs.sglang.io/docs/advanced_features/deterministic_inference), hosted servers roughly or not at all.
"""

import asyncio
import json
import logging
import os
import random
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.request import getproxies

import httpx2
from tqdm.auto import tqdm

from data_prep.engines import Completion, Request, sample_seed
from data_prep.formats import END_THINK, THINK
from data_prep.images import data_url, with_places
from data_prep.journal import Journal, completion_key

logger = logging.getLogger(__name__)
T = TypeVar("T")

Message = Mapping[str, Any]
Prompt = str | Sequence[int] | Sequence[Message]

LOOK_AGAIN = 0.01  # seconds until `stream` looks whether there are further requests
TEMPLATE = 200  # tokens that a chat template may add to its messages
CONNECT_TIMEOUT = 10.0  # seconds
LEAVE_AFTER = 3  # failures in a row until a URL is left for a while
LONGEST_WAIT = 3600.0  # seconds that a server may ask us to wait before it counts as gone
RETRIED = {408, 409, 425, 429}  # and 500 and more
FINISH_REASONS = {
    "stop": "stop",
    "eos_token": "stop",  # text-generation-inference
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "length",  # the provider cut the text: unfinished, and another attempt would be cut too
}
# A proxy or a firewall forgets a connection on which nothing moves while a long text is generated.
KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
KEEP_ALIVE += [
    (socket.IPPROTO_TCP, getattr(socket, name), seconds)
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30))
    if hasattr(socket, name)
]


def is_shown_images(prompt: Prompt) -> bool:
    return any(isinstance(message, Mapping) and isinstance(message["content"], list) for message in prompt)


class ServerError(ValueError, ConnectionError):
    """The servers did not finish the work; what they finished is in the journal."""


class _Failure(Exception):
    """A request that is worth another attempt. `wait`: seconds that the server asked for. `busy`: not its fault."""

    def __init__(self, message: str, busy: bool = False, wait: float | None = None):
        super().__init__(message)
        self.busy, self.wait = busy, wait


class _GivenUp(Exception):
    """No URL answers any more."""


@dataclass(eq=False)
class _Server:
    url: str
    in_flight: int = 0
    failures: int = 0  # in a row; requests that were under way together and failed count once
    changes: int = 0  # how often `failures` was set
    ready_at: float = 0.0  # no request before this time of the event loop, seconds
    error: str = ""  # the last one


@dataclass(eq=False)
class _Job:
    key: str
    prompt: Prompt
    seed: int
    failures: int = 0  # of the request itself, not of a server that was busy
    ready_at: float = 0.0
    server: _Server | None = None  # to which it was sent last


class ServerEngine:
    """Samples from `model` on one or several `urls`, with or without `/v1`. Any thread may call it.

    The limits hold for all calls together: at most `concurrency` requests per URL are under way; more than the server
    batches at once (vLLM's --max-num-seqs) only wait there. `timeout`: seconds for one response, all of its tokens and
    the wait in the server's queue included. A failed request is sent again up to `retries` times, to another URL where
    there is one, after `backoff` seconds, doubled each time up to `max_backoff`, or what the server's Retry-After says;
    a URL that fails 3 times in a row is left for such a time too and then tried with one request.

    The key in the environment variable `api_key_env`, if set, is sent to every URL. `extra`: fields added to each
    request, as `{"stop_token_ids": [2]}`; None removes a field, as in
    `{"max_tokens": None, "max_completion_tokens": 9999}` for OpenAI's reasoning models. `openai_only`: see above.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 1800.0,
        retries: int = 8,
        backoff: float = 1.0,
        max_backoff: float = 60.0,
        openai_only: bool = False,
        extra: Mapping[str, Any] | None = None,
        progress: bool = True,
    ):
        urls = [urls] if isinstance(urls, str) else list(urls)
        if not urls:
            raise ValueError("no URL of a server given, as http://localhost:8000")
        for name, value, ok in (
            ("concurrency", concurrency, concurrency >= 1),
            ("timeout", timeout, timeout > 0),
            ("retries", retries, retries >= 0),
        ):
            if not ok:
                raise ValueError(f"{name} {value} is too small")
        self.model = model
        self.api_key_env = api_key_env
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries, self.backoff, self.max_backoff = retries, backoff, max_backoff
        self.openai_only = openai_only
        self.extra = dict(extra or {})
        self.progress = progress
        self._key = os.environ.get(api_key_env, "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise ValueError(f"${api_key_env} holds characters that no key has")
        self._servers = [_Server(url) for url in dict.fromkeys(map(_base, urls))]
        self._jitter = random.Random()  # of its own: the recipes' random numbers stay as they are
        # All requests are made by one event loop in a thread of its own, whoever calls.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx2.AsyncClient
        self._changed: asyncio.Event  # set, and replaced, when a request ends
        self._calls = 0

    def chat_prompt(
        self, problem: str, system: str | None = None, images: Sequence[bytes] = ()
    ) -> list[dict[str, Any]]:
        """The messages to which the model answers, shown these images; the server applies its chat template."""
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": problem})
        if not images:
            return messages
        urls = iter([{"url": data_url(image, problem[:80])} for image in images])
        return [
            {**message, "content": [
                {"type": "image_url", "image_url": next(urls)} if part["type"] == "image" else part
                for part in message["content"]
            ]}
            for message in with_places(messages, len(images), problem[:80])
        ]  # fmt: skip

    def models(self) -> dict[str, dict[str, int | None]]:
        """Per URL the names of the models that it serves, with their context in tokens where told.

        Raises ValueError if a URL does not answer `/v1/models`.
        """
        return self._run(self._models())

    def check(self) -> None:
        """Raises ValueError if a URL does not answer or does not serve the model. To be called before long work."""
        for url, names in self.models().items():
            if self.model not in names:
                served = ", ".join(sorted(names)[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
                raise ValueError(f"{url} does not serve {self.model!r}; it serves {served or 'no model'}")

    def room(self, prompts: Sequence[Prompt]) -> int:
        """Tokens that the server's context leaves beside the longest prompt, if each of its bytes were a token.

        The context is max_model_len, which vLLM and SGLang tell. Raises ValueError where it is not told, and where
        prompts have images, whose tokens are the affair of the model's processor.
        """
        if any(is_shown_images(prompt) for prompt in prompts):
            raise ValueError(f"how many tokens {self.model} makes of an image is not known: give --max_new_tokens")
        told = [length for names in self.models().values() if (length := names.get(self.model)) is not None]
        if not told:
            raise ValueError(f"the server does not tell the context of {self.model}: give --max_new_tokens")
        longest = max(len(json.dumps(prompt, ensure_ascii=False).encode()) for prompt in prompts)
        return max(1, min(told) - longest - TEMPLATE)

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int = 1,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        seed: int = 0,
        journal: Journal | None = None,
    ) -> list[list[Completion]]:
        """`n` continuations of each prompt, in the prompts' order. Temperature 0 is greedy.

        A prompt is text or token ids, which the server continues, or a list of messages `{role, content}`, which it
        answers; thoughts that it returns apart come back as <think>...</think> before the content. A text ends before
        the first `stop` string, or behind it with `include_stop`. `n_tokens` is the server's count, thoughts included.

        One request per continuation, with a seed made of `seed`, prompt and index of the sample: equal prompts in one
        call share their continuations. Each is put into `journal` as it comes, and those found there are not asked for.

        Raises ValueError for a request that the server refuses, at once, and ServerError (a ValueError) when attempts
        run out: for all URLs in a row, at once; for single requests, after everything else is done.
        """
        if n < 1:
            raise ValueError(f"n {n}: at least 1")
        fields = self._fields(max_new_tokens, temperature, top_p, stop, include_stop)
        jobs: dict[str, _Job] = {}
        done: dict[str, Completion] = {}
        keys: list[list[str]] = []
        for prompt in prompts:
            keys.append([])
            for sample in range(n):
                job = self._job(prompt, sample, seed, fields)
                keys[-1].append(job.key)
                found = journal.get(job.key) if journal else None
                if found:
                    done[job.key] = found
                else:
                    jobs[job.key] = job
        if jobs:
            total = len(jobs) + len(done)
            show = None if self.progress else True
            with tqdm(total=total, initial=len(done), desc="sampling", unit=" responses", disable=show) as bar:

                def finished(key: str, completion: Completion) -> None:
                    if journal:
                        journal.put(key, completion)
                    done[key] = completion
                    bar.update()

                self._run(self._complete_all(list(jobs.values()), fields, finished))
            if len(done) < total:
                raise self._unfinished(len(done), total - len(done), journal)
        return [[done[key] for key in row] for row in keys]

    def stream(
        self,
        requests: deque[Request],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        seed: int = 0,
        journal: Journal | None = None,
        failed: Callable[[Request], None] | None = None,
    ) -> Iterator[tuple[Request, Completion, bool]]:
        """Takes requests from the left of the deque and yields each with its completion as soon as that is there.

        Whoever goes through them may append further requests meanwhile; it ends when none is left. The third value says
        whether the completion was in the journal; if all are, they come in the requests' order. Twice as many requests
        as the servers may get are kept ready, so that none idles while a completion is looked at. Another thread may
        append requests too. Raises as `sample` does: for single requests whose attempts ran out, after everything else
        is done, or not at all if there is `failed`, which is called with each of them as long as a server lists its
        models.
        """
        fields = self._fields(max_new_tokens, temperature, top_p, stop, include_stop)
        come: SimpleQueue[tuple[Request, Future[Completion | None]]] = SimpleQueue()
        under_way: set[Future[Completion | None]] = set()
        n_done = n_failed = 0
        loop = self._run(self._begin())
        try:
            while requests or under_way:
                while requests and len(under_way) < 2 * self.concurrency * len(self._servers):
                    request = requests.popleft()
                    job = self._job(request.prompt, request.sample, seed, fields)
                    if journal and (known := journal.get(job.key)):
                        n_done += 1
                        yield request, known, True
                        continue
                    future = asyncio.run_coroutine_threadsafe(self._complete(job, fields, journal), loop)
                    under_way.add(future)
                    future.add_done_callback(lambda future, request=request: come.put((request, future)))  # type: ignore[misc]
                if not under_way:
                    continue
                try:
                    request, future = come.get(timeout=LOOK_AGAIN)
                except Empty:
                    continue
                under_way.remove(future)
                try:
                    completion = future.result()
                except _GivenUp:
                    if failed is None or not self._run(self._answers()):
                        raise
                    completion = None
                if completion is None:
                    if failed:
                        failed(request)
                    else:
                        n_failed += 1
                    continue
                n_done += 1
                yield request, completion, False
        except _GivenUp:
            raise self._unfinished(n_done, n_failed + 1 + len(under_way) + len(requests), journal) from None
        finally:
            for future in under_way:
                future.cancel()
            with suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._ended)
        if n_failed:
            raise self._unfinished(n_done, n_failed, journal)

    def close(self) -> None:
        """Ends what is under way (CancelledError there) and the connections. The engine can be used again."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop:
            asyncio.run_coroutine_threadsafe(_end(self._client), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def __enter__(self) -> "ServerEngine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _job(self, prompt: Prompt, sample: int, seed: int, fields: Mapping[str, Any]) -> _Job:
        """The request for one continuation. Raises ValueError if the prompt is none."""
        if isinstance(prompt, str):
            pass
        elif prompt and all(
            isinstance(part, int) or (isinstance(part, Mapping) and {"role", "content"} <= part.keys())
            for part in prompt
        ):
            prompt = list(prompt)  # type: ignore[assignment]
        else:
            raise ValueError(f"a prompt is text, token ids, or messages with role and content, not {prompt!r:.100}")
        key = completion_key(
            engine="server",
            model=self.model,
            prompt=prompt,
            seed=seed,
            sample=sample,
            fields={**fields, **self.extra},
            openai_only=self.openai_only,
        )
        return _Job(key, prompt, sample_seed(seed, prompt, sample) >> 32)

    def _unfinished(self, n_done: int, n_missing: int, journal: Journal | None) -> ServerError:
        kept = f"kept in {journal.path}: the same command goes on from there" if journal else "lost: no journal"
        errors = "; ".join(f"{server.url}: {server.error}" for server in self._servers if server.error)
        return ServerError(
            f"{n_done} of {n_done + n_missing} responses are finished, {n_missing} are missing; last errors: {errors}. "
            f"The finished ones are {kept}"
        )

    def _fields(
        self, max_new_tokens: int, temperature: float, top_p: float, stop: Sequence[str], include_stop: bool
    ) -> dict[str, Any]:
        """What every request of a call has in common. Raises ValueError for a value out of range."""
        stop = list(stop) if not isinstance(stop, str) else [stop]
        for name, value, ok, wanted in (
            ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "at least 1"),
            ("temperature", temperature, temperature >= 0, "0 or more"),
            ("top_p", top_p, 0 < top_p <= 1, "above 0, at most 1"),
            ("stop", stop, all(stop), "no empty text"),
            ("include_stop", include_stop, stop or not include_stop, "only with stop"),
        ):
            if not ok:
                raise ValueError(f"{name} {value}: {wanted}")
        fields: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        if stop:
            fields["stop"] = stop
        if not self.openai_only:
            fields |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
            fields |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
        if include_stop:
            # Needed whatever `openai_only` says: without a server that knows one of them it cannot be done.
            fields |= {"include_stop_str_in_output": True, "no_stop_trim": True}
        return fields

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, done by the engine's event loop. An interrupt here cancels it there."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # Servers close idle connections after 5 s: ours must have left them before.
                limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=3)
                self._client = httpx2.AsyncClient(
                    headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                    timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_TIMEOUT, self.timeout), pool=None),
                    limits=limits,
                    # A client with a transport of its own would not heed $HTTPS_PROXY.
                    transport=None
                    if getproxies()
                    else httpx2.AsyncHTTPTransport(limits=limits, socket_options=KEEP_ALIVE),
                )
                self._changed = asyncio.Event()
                threading.Thread(target=_serve, args=(self._loop,), name="ServerEngine", daemon=True).start()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    async def _models(self) -> dict[str, dict[str, int | None]]:
        timeout = min(30.0, self.timeout)

        async def ask(url: str) -> dict[str, int | None]:
            try:
                response = await self._client.get(f"{url}/models", timeout=timeout)
            except httpx2.RequestError as error:
                raise ValueError(
                    f"no server answers at {url} ({self._describe(error, timeout)}): start it, wait until it "
                    "has loaded the model, or mend the URL"
                ) from None
            if not response.is_success:
                line = f"{response.status_code} {self._message(response)}"
                raise ValueError(f"{url}/models answers {line}: {self._advice(response.status_code)}")
            try:
                return {card["id"]: card.get("max_model_len") for card in response.json()["data"]}
            except (ValueError, KeyError, TypeError, AttributeError):
                text = self._clean(response.text)
                raise ValueError(f"{url}/models lists no models ({text}): is that an OpenAI-compatible API?") from None

        urls = [server.url for server in self._servers]
        return dict(zip(urls, await asyncio.gather(*map(ask, urls)), strict=True))

    async def _complete_all(
        self,
        jobs: Sequence[_Job],
        fields: dict[str, Any],
        finished: Callable[[str, Completion], None],
    ) -> None:
        """Calls `finished` with each completion as it comes. Returns when nothing more can be done."""
        loop = await self._begin()
        queue = deque(jobs)

        async def work() -> None:
            while queue:
                job = queue.popleft()
                await asyncio.sleep(job.ready_at - loop.time())
                if completion := await self._attempt(job, fields):
                    finished(job.key, completion)
                elif job.failures <= self.retries:
                    # Behind the others: requests that fail by themselves do not hold up or hide those that succeed.
                    job.ready_at = loop.time() + self._pause(job.failures)
                    queue.append(job)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(jobs), self.concurrency * len(self._servers))):
                    group.create_task(work())
        except BaseExceptionGroup as group_of_errors:
            # The first is the cause; more are there only if they came at the same moment.
            error = group_of_errors.exceptions[0]
            if not isinstance(error, _GivenUp):
                raise error from None
        finally:
            self._ended()

    async def _complete(self, job: _Job, fields: dict[str, Any], journal: Journal | None) -> Completion | None:
        """The completion, which is in the journal then, or None if the attempts ran out. Raises as `_attempt` does."""
        while job.failures <= self.retries:
            if completion := await self._attempt(job, fields):
                if journal:
                    journal.put(job.key, completion)
                return completion
            await asyncio.sleep(self._pause(job.failures))
        return None

    async def _begin(self) -> asyncio.AbstractEventLoop:
        """Counts a call that begins, and returns the loop; `_ended` belongs to it."""
        if not self._calls:  # a new beginning for servers that were given up
            for server in self._servers:
                server.failures, server.ready_at, server.error = 0, 0.0, ""
        self._calls += 1
        return asyncio.get_running_loop()

    def _ended(self) -> None:
        self._calls -= 1

    async def _attempt(self, job: _Job, fields: dict[str, Any]) -> Completion | None:
        """The completion, or None if this attempt failed.

        Raises _GivenUp if no URL answers any more, ValueError if the request is refused.
        """
        chat = not isinstance(job.prompt, str) and not isinstance(job.prompt[0], int)
        path = "/chat/completions" if chat else "/completions"
        body: dict[str, Any] = {"model": self.model, "messages" if chat else "prompt": job.prompt}
        if isinstance(job.prompt, str) and not self.openai_only:
            body["add_special_tokens"] = False
        body |= fields | {"seed": job.seed} | self.extra
        body = {name: value for name, value in body.items() if value is not None}
        server = await self._free_server(avoid=job.server)
        job.server, changes = server, server.changes
        try:
            completion = _read(await self._post(server, path, body), chat, body)
        except _Failure as failure:
            job.failures += 0 if failure.busy else 1
            self._failed(server, changes, failure)
            if self._all_gone():
                raise _GivenUp from None
            return None
        finally:
            server.in_flight -= 1
            self._changed.set()
            self._changed = asyncio.Event()
        if server.failures >= LEAVE_AFTER:
            logger.warning("%s answers again", server.url)
        server.failures = 0
        server.changes += 1
        return completion

    async def _answers(self) -> bool:
        """Whether a URL still lists its models: then it is only these requests that fail, and counting begins anew."""
        answers = False
        for server in self._servers:
            with suppress(httpx2.RequestError):
                response = await self._client.get(f"{server.url}/models", timeout=min(30.0, self.timeout))
                if response.is_success:
                    server.failures, server.ready_at, answers = 0, 0.0, True
        return answers

    def _all_gone(self) -> bool:
        return all(server.failures > self.retries for server in self._servers)

    def _failed(self, server: _Server, changes: int, failure: _Failure) -> None:
        """Counts a failure of a request that was sent after so many `changes`, and leaves the server if that helps."""
        server.error = self._clean(str(failure))
        in_a_row = changes == server.changes  # nothing else came back in the meantime
        if in_a_row:
            server.failures += 1
            server.changes += 1
            if server.failures == LEAVE_AFTER:
                logger.warning("%s is left for a while: %s", server.url, server.error)
        if failure.busy or (in_a_row and server.failures >= LEAVE_AFTER):
            wait = max(self._pause(server.failures), (failure.wait or 0) * self._jitter.uniform(1, 1.1))
            server.ready_at = max(server.ready_at, asyncio.get_running_loop().time() + wait)
            if (failure.wait or 0) > LONGEST_WAIT:
                server.failures = self.retries + 1

    def _pause(self, attempts: int) -> float:
        """Seconds before the next attempt: doubled each time, with jitter, so that not all come back at once."""
        return min(self.max_backoff, self.backoff * 2 ** min(max(attempts - 1, 0), 60)) * self._jitter.uniform(0.5, 1)

    async def _free_server(self, avoid: _Server | None) -> _Server:
        """The URL with the fewest requests under way of those that may get one; `avoid` only if there is no other.

        Raises _GivenUp if no URL answers any more, as another request has found out.
        """
        loop = asyncio.get_running_loop()
        while not self._all_gone():
            now = loop.time()
            free = [
                server
                for server in self._servers
                if server.ready_at <= now
                and server.in_flight < (self.concurrency if server.failures < LEAVE_AFTER else 1)
            ]
            if free:
                server = min(free, key=lambda server: (server is avoid, server.in_flight))
                server.in_flight += 1
                return server
            waits = [server.ready_at - now for server in self._servers if server.ready_at > now]
            try:
                async with asyncio.timeout(min(waits, default=None)):
                    await self._changed.wait()
            except TimeoutError:
                pass
        raise _GivenUp

    async def _post(self, server: _Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer. Raises _Failure if another attempt may help, ValueError if not."""
        content = json.dumps(body).encode()
        try:
            response = await self._client.post(
                server.url + path, content=content, headers={"Content-Type": "application/json"}
            )
        except httpx2.RequestError as error:
            raise _Failure(self._describe(error, self.timeout)) from None
        status = response.status_code
        if not response.is_success:
            line = f"{status} {self._message(response)}"
            if status == 402 or "insufficient_quota" in response.text:  # the latter a 429 that no waiting mends
                raise ValueError(f"{server.url}{path} answers {line}: pay, or take another key or URL")
            if status not in RETRIED and status < 500:
                raise ValueError(f"{server.url}{path} answers {line}: {self._advice(status)}")
            wait = _retry_after(response.headers)
            raise _Failure(line, busy=status == 429 or wait is not None, wait=wait)
        try:
            answer = response.json()
        except ValueError:
            raise _Failure(f"an answer that is not JSON: {self._clean(response.text)}") from None
        if not isinstance(answer, dict):
            raise _Failure(f"an answer without choices: {self._clean(response.text)}")
        return answer

    def _describe(self, error: httpx2.RequestError, timeout: float) -> str:
        if isinstance(error, httpx2.ConnectTimeout):
            return "no connection in time"
        if isinstance(error, httpx2.TimeoutException):
            return f"no answer within {timeout:g} s"
        return self._clean(f"{type(error).__name__}: {error}")

    def _message(self, response: httpx2.Response) -> str:
        """The server's own words, in one line."""
        try:
            answer = response.json()
            error = answer.get("error", answer)
            text = error if isinstance(error, str) else error.get("message") or error.get("detail") or response.text
        except (ValueError, AttributeError):
            text = response.text
        return self._clean(str(text))

    def _clean(self, text: str) -> str:
        """One line, not too long, without the key (some servers repeat it)."""
        text = text.replace(self._key, "***") if self._key else text
        text = " ".join(text.split())
        return text if len(text) <= 300 else f"{text[:300]}..."

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            if not self._key:
                return f"${self.api_key_env} is not set: set it to a key for this server"
            return f"the key in ${self.api_key_env} is not the right one for this server and model"
        if status == 404:
            return (
                f"is {self.model!r} a model that it serves, and the URL the one of its API, as http://localhost:8000?"
            )
        if 300 <= status < 400:
            return "give the URL to which it redirects"
        return (
            "if it is a field of the request that it does not know, set openai_only, or remove the field by setting it "
            "to null in extra; if the prompt is too long, lower max_new_tokens"
        )


async def _end(client: httpx2.AsyncClient) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.aclose()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _base(url: str) -> str:
    """The URL with its version: `/v1` unless it ends in one already. Raises ValueError."""
    try:
        parts = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, TypeError) as error:
        raise ValueError(f"{url!r} is not a URL ({error}): give one like http://localhost:8000") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the URL of a server: give one like http://localhost:8000")
    if parts.userinfo:
        raise ValueError(f"the URL of {parts.host} holds a password: give the key in the environment variable instead")
    path = parts.path.rstrip("/")
    if path.endswith("/completions"):
        raise ValueError(f"{url}: give it without the path of the request, as http://localhost:8000")
    base = str(parts.copy_with(path=path or "/")).rstrip("/")
    return base if re.search(r"/v\d\w*(/|$)", path) else f"{base}/v1"


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait (RFC 9110 section 10.2.3: a number, or a date)."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _read(answer: dict[str, Any], chat: bool, fields: Mapping[str, Any]) -> Completion:
    """The completion in a server's answer. Raises _Failure if it lacks something, ValueError if it never will tell."""
    try:
        choice = answer["choices"][0]
        message = choice["message"] if chat else {"content": choice["text"]}
        text, thought = message.get("content") or "", ""
        if chat:  # vLLM says `reasoning`, once `reasoning_content`, as SGLang and DeepSeek do
            thought = message.get("reasoning") or message.get("reasoning_content") or ""
        finish_reason = FINISH_REASONS[choice["finish_reason"]]
        n_tokens = answer["usage"]["completion_tokens"]
        if type(n_tokens) is not int or not isinstance(text, str) or not isinstance(thought, str):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError):
        # OpenRouter and others tell of an error with status 200.
        raise _Failure(f"an answer without text, finish_reason or usage: {json.dumps(answer)}") from None

    stop, include = fields.get("stop") or [], "include_stop_str_in_output" in fields
    stopped_by = choice.get("stop_reason", choice.get("matched_stop"))  # a stop string, a token id or None
    # The text in which a stop string was found is the content, or the thought if there is no content yet.
    tail = text or thought
    end = min(((tail.find(s) + len(s), len(s)) for s in stop if s in tail), key=lambda end: end[0], default=None)
    if end:
        tail = tail[: end[0] if include else end[0] - end[1]]
        finish_reason = "stop"
    elif include and finish_reason == "stop":
        if stopped_by in stop:
            tail += stopped_by
        elif "stop_reason" not in choice and "matched_stop" not in choice:
            raise ValueError(
                "the server does not say whether a stop string ended the text (neither stop_reason nor matched_stop in "
                "its answer): include_stop needs vLLM or SGLang"
            )
    if not thought:  # a thought that the chat template has opened is left as it came, as the in-process engine does
        return Completion(tail, n_tokens, finish_reason)
    if not text:  # whether the thought was closed before the text ended is not known: it stays open, nothing answers
        return Completion(f"{THINK}\n{tail.lstrip(chr(10))}", n_tokens, finish_reason)
    thought, tail = thought.strip("\n"), tail.lstrip("\n")
    return Completion(f"{THINK}\n{thought}\n{END_THINK}\n\n{tail}", n_tokens, finish_reason)
