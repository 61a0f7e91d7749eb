"""Speed of full fine-tuning on one large GPU: model FLOP utilisation of this repository and of TRL.

    python -m tests.bench.sft_gpu                      # one H200 or H100: under 8 minutes; needs torch >= 2.11 and trl
    python -m tests.bench.sft_gpu --models 7B --checkpointing selective

Models of Qwen2.5-1.5B's and 7B's shape with random weights, nothing is downloaded. Full fine-tuning in bf16 (weights,
gradients and AdamW's two states, 8 bytes a weight: 61 GB for the 7B shape, which leaves an H200 80 GB for activations
and an H100 with 80 GB very little), gradient checkpointing in every layer, samples with the lengths of real Long-CoT
responses cut at 16,384 tokens, random ids, no loss on the prompt. Sides:

- trl_default: TRL's `SFTTrainer` without packing, padded, sdpa, 4 samples a batch (or 2, or 1, if more do not fit);
- trl_packed: TRL's best, `packing=True, packing_strategy="bfd"`, rows of 16,384 tokens, flash-attn where installed,
  else sdpa with a mask;
- ours_varlen: our rows and trainer, `attn_implementation="packed"`, which is `torch.nn.attention.varlen` on a GPU;
- ours_flash: the same with flash-attn, where installed.

`--checkpointing selective` keeps each layer's attention output on all sides, where TRL's policy knows the kernel.

Each side is a process that runs `trainer.train()` on the same samples and stops at a time budget; a 7B model fills the
GPU, so the sides run one after another, not interleaved. The first two steps are not counted. A side that runs out of
memory or lacks something is reported, and the others run.

    tokens_per_s   real (not padding) tokens / seconds of whole optimizer steps
    mfu            model FLOPs / seconds / peak, where the model FLOPs of a step are, forward and backward (3 forwards),
                   6 * N * T                      products: N weights without the input embedding, T real tokens
                   + 6 * L * H * D * sum(len^2)   attention: per layer, head and pair of tokens 2 products of 2 D FLOPs,
                                                  for the causal half of the pairs: 3 * (4 * H * D * len^2 / 2)
                   with L layers, H heads of size D, len the real lengths. Recomputation, padding, masked-out pairs and
                   the optimizer count for nothing. The head counts as a product over all real tokens.
    peak           dense bf16 FLOPs of the GPU: H100 SXM, H200 and GH200 989e12, H100 PCIe 756e12, A100 312e12

Goals: mfu >= 0.5 for the 7B shape (public figures for 8B on H100: 0.33-0.39), ours >= 1.2 times TRL's best.

Without a GPU a toy size runs, so that this does not rot; its figures mean nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from tests.bench.common import (
    ROOT,
    machine,
    peak_memory,
    print_result,
    print_table,
    random_samples,
    real_lengths,
    reset_peak_memory,
    small_tokenizer,
)

# https://huggingface.co/Qwen/Qwen2.5-1.5B/blob/main/config.json and the same of Qwen2.5-7B
MODELS: dict[str, dict[str, Any]] = {
    "1.5B": {"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
             "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True},
    "7B": {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
           "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False},
    "toy": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 128, "vocab_size": 512, "tie_word_embeddings": True},
}  # fmt: skip
SIDES = ("trl_default", "trl_packed", "ours_varlen", "ours_flash")
PADDED_BATCHES = (4, 2, 1)
WARM_UP_STEPS = 2
N_SAMPLES = 128
LIMIT_SECONDS = 450  # for everything
STEP_SECONDS = 20  # counted steps of a side
PEAK_FLOPS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "GH200": 989e12, "A100": 312e12}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="default: 7B and 1.5B; without a GPU: toy")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--max_length", type=int, help="default: 16,384; without a GPU 512")
    parser.add_argument("--checkpointing", choices=("full", "selective"), default="full")
    parser.add_argument("--step_seconds", type=float, default=STEP_SECONDS, help="time for the counted steps of a side")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one process of the benchmark: model:side:batch size
    return parser.parse_args()


def weights(shape: dict[str, Any]) -> int:
    """Weights of all products of one token: layers and head, without the input embedding, norms and biases."""
    hidden, head_dim = shape["hidden_size"], shape["hidden_size"] // shape["num_attention_heads"]
    attention = 2 * hidden * hidden + 2 * hidden * shape["num_key_value_heads"] * head_dim
    layer = attention + 3 * hidden * shape["intermediate_size"]
    return shape["num_hidden_layers"] * layer + hidden * shape["vocab_size"]


def model_flops(shape: dict[str, Any], n_tokens: float, sum_of_squares: float) -> float:
    """FLOPs of a forward and backward over `n_tokens` in samples whose squared lengths add up to `sum_of_squares`."""
    products = 6.0 * weights(shape) * n_tokens
    return products + 6.0 * shape["num_hidden_layers"] * shape["hidden_size"] * sum_of_squares


def peak_flops(device: str) -> float | None:
    words = device.replace("-", " ")
    return next((flops for name, flops in PEAK_FLOPS.items() if all(part in words for part in name.split())), None)


# One side: a process that trains until its time is up.


def run_side(args: argparse.Namespace) -> None:
    import pyarrow as pa
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, Qwen2Config, TrainerCallback
    from transformers.utils import is_flash_attn_2_available
    from trl import ModelConfig, SFTConfig, SFTTrainer

    from data_prep.packing import CachedRows, pack
    from data_prep.tokenization import TOKENIZED, Tally, as_lists
    from rl.attention import _HAS_VARLEN
    from rl.runs import hardware_defaults
    from rl.sft import LongCotConfig, make_trainer

    model_name, side, batch_size = args.side.split(":")
    shape, cuda = MODELS[model_name], torch.cuda.is_available()
    flash = cuda and is_flash_attn_2_available()
    attention = {"ours_varlen": "packed", "ours_flash": "flash_attention_2", "trl_default": "sdpa"}.get(
        side, "flash_attention_2" if flash else "sdpa"
    )
    if side == "ours_flash" and not flash:
        raise SystemExit("needs flash-attn: pip install --no-build-isolation flash-attn")
    if side == "ours_varlen" and cuda and not _HAS_VARLEN:
        raise SystemExit(f"needs torch >= 2.11 for torch.nn.attention.varlen, this is {torch.__version__}")

    samples = random_samples(real_lengths(N_SAMPLES if cuda else 16, args.max_length), shape["vocab_size"])
    table = pa.table([as_lists([s[key] for s in samples]) for key in ("input_ids", "labels")], schema=TOKENIZED)
    config = Qwen2Config(**shape, max_position_embeddings=args.max_length, rope_theta=1e6, pad_token_id=0)
    torch.manual_seed(0)
    with torch.device("cuda" if cuda else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)

    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder, "max_length": args.max_length, "num_train_epochs": 1000, "learning_rate": 1e-6,
            "gradient_checkpointing": True, "optim": "adamw_torch_fused" if cuda else "adamw_torch",
            "logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": 0,
            **hardware_defaults(),
        }  # fmt: skip
        if args.checkpointing == "selective":
            common["gradient_checkpointing_kwargs"] = {"selective": True}
        trainer: SFTTrainer
        if side.startswith("ours"):
            rows = CachedRows(Dataset(pack(table, args.max_length)), set(), Tally(), "", False, args.max_length)
            training = LongCotConfig(packing=True, per_device_train_batch_size=1, **common)
            trainer = make_trainer(model, ModelConfig(), training, small_tokenizer(), rows, None, [])
        else:
            packing = {"packing": side == "trl_packed", "packing_strategy": "bfd"}
            settings = SFTConfig(per_device_train_batch_size=int(batch_size), **packing, **common)
            trainer = SFTTrainer(model, settings, processing_class=small_tokenizer(), train_dataset=Dataset(table))

        counts = {"tokens": 0, "sum_of_squares": 0, "positions": 0}
        step, times = trainer.training_step, [0.0]

        def counted_step(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
            if "attention_mask" in inputs:
                lengths = inputs["attention_mask"].sum(1).cpu().numpy().astype(np.int64)
            else:
                lengths = inputs["cu_seq_lens_q"].diff().cpu().numpy().astype(np.int64)
            counts["tokens"] += int(lengths.sum())
            counts["sum_of_squares"] += int((lengths**2).sum())
            counts["positions"] += inputs["input_ids"].numel()
            return step(model, inputs, num_items_in_batch)

        class UntilTimeIsUp(TrainerCallback):
            def on_step_end(self, trainer_args: Any, state: Any, control: Any, **_: Any) -> None:
                if cuda:
                    torch.cuda.synchronize()
                times.append(time.perf_counter())
                if state.global_step == WARM_UP_STEPS:
                    trainer.training_step = counted_step
                    reset_peak_memory()
                    times.clear()
                    times.append(time.perf_counter())
                # Whole passes over the samples would be fairer still, but a padded 7B has no time for one.
                if len(times) > 2 and times[-1] - times[0] > args.step_seconds:
                    control.should_training_stop = True

        trainer.add_callback(UntilTimeIsUp())
        trainer.train()
    seconds = times[-1] - times[0]
    flops = model_flops(shape, counts["tokens"], counts["sum_of_squares"])
    peak = peak_flops(torch.cuda.get_device_name()) if cuda else None
    result = {
        "tokens_per_s": counts["tokens"] / seconds, "mfu": flops / seconds / peak if peak else None,
        "tflops": flops / seconds / 1e12, "peak_memory_gib": peak_memory() / 2**30, "steps": len(times) - 1,
        "real_share": counts["tokens"] / counts["positions"], "batch_size": int(batch_size), "attention": attention,
    }  # fmt: skip
    print(json.dumps(result), flush=True)


# The benchmark: one process after the other.


def measure(model: str, side: str, arguments: list[str], seconds_left: float) -> dict[str, Any]:
    """The result of a side, or {"error": why there is none}; the padded side tries smaller batches."""
    error = "no time left"
    for batch_size in PADDED_BATCHES if side == "trl_default" else (1,):
        began = time.perf_counter()
        if seconds_left <= 0:
            break
        command = [sys.executable, "-m", "tests.bench.sft_gpu", *arguments, "--side", f"{model}:{side}:{batch_size}"]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds_left)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {seconds_left:.0f} s"}
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode == 0 and lines:
            return json.loads(lines[-1])
        said = [line for line in done.stderr.splitlines() if line.strip()]
        error = said[-1][:300] if said else f"ended with code {done.returncode}"
        if "out of memory" not in done.stderr.lower():
            break
        error = f"out of memory at {batch_size} a batch"
        seconds_left -= time.perf_counter() - began
    return {"error": error}


def main() -> None:
    args = parse()
    began = time.perf_counter()
    try:
        import torch
        import trl  # noqa: F401
    except ImportError as missing:
        raise SystemExit(f'{missing}: install torch >= 2.11 and then this repository: pip install -e "."') from None
    cuda = torch.cuda.is_available()
    args.models = args.models or (["7B", "1.5B"] if cuda else ["toy"])
    args.max_length = args.max_length or (16_384 if cuda else 512)
    args.step_seconds = args.step_seconds if cuda else min(args.step_seconds, 1.0)
    if args.side:
        run_side(args)
        return
    print(f"{machine()['device']}, full fine-tuning in bf16, rows of {args.max_length:,} tokens", flush=True)
    if not cuda:
        print("no GPU: toy size, the figures mean nothing", flush=True)

    results: dict[str, dict[str, Any]] = {}
    for i, model in enumerate(args.models):
        for j, side in enumerate(args.sides):
            # What is left is shared: a side that needs less leaves more to those behind it.
            n_waiting = (len(args.models) - i) * len(args.sides) - j
            left = (LIMIT_SECONDS - (time.perf_counter() - began)) / max(1.0, n_waiting / 2)
            result = measure(model, side, sys.argv[1:], left)
            results[f"{model}/{side}"] = result
            seen = result.get("error") or f"{result['tokens_per_s']:,.0f} real tokens/s"
            print(f"{time.perf_counter() - began:5.0f} s  {model} {side}: {seen}", flush=True)

    rows = [
        [name, *(["-"] * 6 if "error" in r else [r["tokens_per_s"], r["mfu"] or "-", r["tflops"], r["peak_memory_gib"],
         r["real_share"], r["batch_size"]]), r.get("error", r.get("attention"))]
        for name, r in results.items()
    ]  # fmt: skip
    print_table(["", "real tokens/s", "MFU", "TFLOP/s", "peak GiB", "real share", "batch", "attention"], rows)

    def best(model: str, owner: str) -> dict[str, Any]:
        mine = [r for name, r in results.items() if name.startswith(f"{model}/{owner}") and "error" not in r]
        return max(mine, key=lambda r: r["tokens_per_s"], default={"tokens_per_s": None, "mfu": None})

    def ratio(model: str) -> float | None:
        ours, trl = best(model, "ours")["tokens_per_s"], best(model, "trl")["tokens_per_s"]
        return ours / trl if ours and trl else None

    print_result(
        {
            **{f"mfu_{model}": best(model, "ours")["mfu"] for model in args.models},
            **{f"ratio_{model}": ratio(model) for model in args.models},
            "sides": results,
            "max_length": args.max_length,
            "checkpointing": args.checkpointing,
            "optimizer": "AdamW, states in bf16",
            "meaningful": cuda,
            "seconds": time.perf_counter() - began,
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
