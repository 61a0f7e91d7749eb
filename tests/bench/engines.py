"""In-process sampling: our continuous batches against transformers' `generate` in batches sorted by length.

    python -m tests.bench.engines --model outputs/quickstart/after          # small world, about 5 minutes on 2 cores
    python -m tests.bench.engines --model HuggingFaceTB/SmolLM2-135M-Instruct --benchmark gsm8k=FILE --batch_size 16

With `--server_url` a server that serves the same weights (`vllm serve MODEL`) answers the same prompts greedily, too.

The same prompts, sampled at temperature 1 with the same limit, on the same batch size and precision; the sides take
turns and medians are reported. Both stop at the same end tokens. `generate` keeps every row until the last one of its
batch is done. `tokens_per_s` counts generated tokens that are part of a response. `greedy_equal`: share of greedy
responses of which both sides give the same text; for the server also `server_answers_equal`, the share with the same
extracted answer. In 16 bits the two round differently, and texts part where two tokens are nearly equal.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from transformers import GenerationConfig

from data_prep.answers import AnswerChecker, find_answer
from data_prep.benchmarks import find_benchmarks, read_benchmark
from data_prep.engines import TransformersEngine
from data_prep.servers import ServerEngine
from data_prep.small_world import CHECKPOINTS
from tests.bench.common import machine, print_result, print_table


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default=str(CHECKPOINTS / "small"))
    parser.add_argument("--benchmark", default="small-world")
    parser.add_argument("--n_problems", type=int, default=300)
    parser.add_argument("--max_new_tokens", type=int, default=700)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3, help="0: only the greedy comparison")
    parser.add_argument("--server_url", help="an OpenAI-compatible server with the same model")
    parser.add_argument("--served_model", help="the name under which it serves it (default: --model)")
    return parser.parse_args()


def generate(
    engine: TransformersEngine, prompts: list[str], max_new_tokens: int, temperature: float
) -> list[tuple[str, int]]:
    """Text and number of tokens per prompt, by `model.generate` in static batches sorted by length."""
    ids = engine.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    order = sorted(range(len(prompts)), key=lambda i: -len(ids[i]))
    decoding = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=sorted(engine.ends), pad_token_id=engine.tokenizer.pad_token_id
    )
    if temperature > 0:
        decoding.update(do_sample=True, temperature=temperature, top_p=1.0, top_k=0)
    engine.model.generation_config = decoding
    found: dict[int, tuple[str, int]] = {}
    with torch.inference_mode():
        for start in range(0, len(order), engine.batch_size):
            batch = order[start : start + engine.batch_size]
            inputs = engine.tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt").to(engine.device)
            output = engine.model.generate(**inputs, generation_config=decoding)
            for i, row in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                end = next((j for j, token in enumerate(row) if token in engine.ends), None)
                text = engine.tokenizer.decode(row[:end], skip_special_tokens=True)
                found[i] = (text, len(row) if end is None else end + 1)
    return [found[i] for i in range(len(prompts))]


def main() -> None:
    args, began = parse(), time.perf_counter()
    engine = TransformersEngine(args.model, args.dtype, batch_size=args.batch_size)
    (benchmark,) = find_benchmarks([args.benchmark])
    problems, _ = read_benchmark(benchmark, args.n_problems)
    prompts = [engine.chat_prompt(f"{row['problem']}\n{benchmark.instruction}".strip()) for row in problems]
    speeds: dict[str, list[float]] = {"ours": [], "generate": []}
    for repeat in range(args.repeats):
        started = time.perf_counter()
        ours = engine.sample(prompts, max_new_tokens=args.max_new_tokens, temperature=1.0, seed=repeat)
        speeds["ours"].append(sum(c.n_tokens for (c,) in ours) / (time.perf_counter() - started))
        torch.manual_seed(repeat)
        started = time.perf_counter()
        theirs = generate(engine, prompts, args.max_new_tokens, 1.0)
        speeds["generate"].append(sum(n for _, n in theirs) / (time.perf_counter() - started))
    started = time.perf_counter()
    greedy = [c for (c,) in engine.sample(prompts, max_new_tokens=args.max_new_tokens)]
    speeds["ours, greedy"] = [sum(c.n_tokens for c in greedy) / (time.perf_counter() - started)]
    result: dict[str, Any] = {}
    if args.server_url:
        with ServerEngine(args.server_url, args.served_model or args.model) as server:
            server.check()
            started = time.perf_counter()
            served = [c for (c,) in server.sample(prompts, max_new_tokens=args.max_new_tokens)]
            speeds["server, greedy"] = [sum(c.n_tokens for c in served) / (time.perf_counter() - started)]
        pairs = list(zip(greedy, served, strict=True))
        answers = [[find_answer(c.text, lenient=True)[0] for c in pair] for pair in pairs]
        with AnswerChecker() as checker:
            right = [
                [checker.judge(row["answer"], c.text, lenient=True).verdict == "right" for c in pair]
                for row, pair in zip(problems, pairs, strict=True)
            ]
        result |= {
            "server_greedy_equal": statistics.mean(a.text == b.text for a, b in pairs),
            "server_answers_equal": statistics.mean(a == b for a, b in answers),
            "right": sum(a for a, _ in right),
            "server_right": sum(b for _, b in right),
        }
    if args.repeats:
        other = [text for text, _ in generate(engine, prompts, args.max_new_tokens, 0.0)]
        result["greedy_equal"] = statistics.mean(a.text == b for a, b in zip(greedy, other, strict=True))
        result["ratio"] = statistics.median(a / b for a, b in zip(speeds["ours"], speeds["generate"], strict=True))
    medians = {side: statistics.median(values) for side, values in speeds.items() if values}
    print_table(["side", "tokens/s"], [[side, value] for side, value in medians.items()])
    result |= {f"{side.replace(', ', '_')}_tokens_per_s": value for side, value in medians.items()}
    result |= {
        "model": args.model,
        "benchmark": benchmark.name,
        "n_problems": len(prompts),
        "batch_size": args.batch_size,
        "max_new_tokens": args.max_new_tokens,
        "dtype": args.dtype,
        "seconds": time.perf_counter() - began,
    }
    print_result(result | machine())


if __name__ == "__main__":
    main()
