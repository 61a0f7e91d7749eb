"""Speed and memory of Long-CoT SFT: this repository against TRL as it comes and TRL at its best.

    python -m tests.bench.sft                       # see below for the time; with a GPU minutes
    python -m tests.bench.sft --layers_run 30       # a CPU runs every layer: hours on two cores
    python -m tests.bench.sft --smoke               # seconds; figures mean nothing

Three sides train the same model (SmolLM2-135M's shape, random weights) on the same samples (random ids, the lengths of
real Long-CoT responses up to `max_length` 8,192, no loss on the prompt) with the same optimizer (AdamW), precision
(bf16 autocast over float32 weights where the hardware has it) and gradient checkpointing:

- ours: the rows of `data_prep.packing`, one row a batch, in `rl.sft`'s trainer with the attention that it chooses;
- trl_padded: TRL's `SFTTrainer` without packing, 4 samples a batch, padded, sdpa;
- trl_packed: TRL's own best, `packing=True, packing_strategy="bfd"`, one row a batch, with flash-attn where installed,
  else sdpa.

Each side is a process that runs `trainer.train()` over all samples once and stops after every quarter of its steps; the
sides take turns, one quarter each, so that a change of the machine's speed meets them all. Counted are whole optimizer
steps; start-up and a first warm-up step are not. The learning rate is 0, so the weights stay as they are and the sum of
the losses over all samples must be equal.

    tokens/s       real (not padding) tokens / seconds, over all samples
    ratio_X        ours_tokens_per_s / trl_X_tokens_per_s
    packing_efficiency   tokens / (rows * max_length) when as many samples as the recipe packs at once are packed
    padding_bound  packing_efficiency / share of real tokens in padded random batches of 4: the gain if padding were all
    peak_memory_ratio    peak of ours / the smaller peak of the other two (CPU: resident memory of the process)

Samples longer than 8,192 tokens are dropped, as the recipe does unless told otherwise (`--overlong cut` cuts them: more
tokens, and a larger share of long ones, so more time).

A CPU does not get through 30 layers in any sensible time: it runs `--layers_run` 1 of them, and what the layers take is
measured by itself (from the first layer's input to the last one's output, forward and backward; that holds the
recomputation). As all layers are equal, the full model's time is that of the rest plus 30 times that of the one; the
optimizer's share for the other layers (under 1 %) is left out. The JSON says so (`layers`, `layers_run`) and gives the
figures as run too (`as_run`), where the ratios are lower, since the language-model head weighs more than it does in
the full model. Memory is always as run.

One core of a CPU without bf16 took 60 minutes. The estimate for your machine is printed at the start.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import (
    ROOT,
    machine,
    packing_efficiency,
    peak_memory,
    print_result,
    print_table,
    random_samples,
    real_lengths,
    real_share_when_padded,
    reset_peak_memory,
    small_tokenizer,
)

SIDES = ("ours", "trl_padded", "trl_packed")
PADDED_BATCH = 4
LIMIT_MINUTES = 20
FULL = {
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
SMOKE = {**FULL, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 128, "vocab_size": 512}  # fmt: skip


def parse() -> argparse.Namespace:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--samples", type=int, default=64, help="samples a side")
    parser.add_argument("--layers", type=int, default=None, help="layers of the model (default: 30)")
    parser.add_argument(
        "--layers_run", type=int, default=None, help="layers that are run (default: all on a GPU, else 1)"
    )
    parser.add_argument("--max_length", type=int, default=8192)
    parser.add_argument("--overlong", choices=("drop", "cut"), default="drop", help="samples longer than max_length")
    parser.add_argument("--rounds", type=int, default=4, help="parts of a side's steps between which sides take turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a tiny model and few, short samples")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # one process of the benchmark
    args = parser.parse_args()
    if args.smoke:
        args.samples, args.max_length, args.rounds = min(args.samples, 16), min(args.max_length, 1024), 2
    args.shape = SMOKE if args.smoke else FULL
    args.layers = args.layers or args.shape["num_hidden_layers"]
    args.layers_run = min(args.layers, args.layers_run or (args.layers if torch.cuda.is_available() else 1))
    return args


# One side: a process that trains, a round at a time.


class LayerClock:
    """Seconds between the first layer's input and the last layer's output, forward and backward.

    Not from hooks on the layers alone: with checkpointing they run once more in the backward.
    """

    def __init__(self, backbone: Any):
        self.seconds, self._forward_began, self._backward_began = 0.0, 0.0, 0.0
        backbone.layers[0].register_forward_pre_hook(self._first_layer)
        backbone.norm.register_forward_pre_hook(self._behind_last_layer)

    def _first_layer(self, module: Any, args: tuple) -> None:
        if not self._forward_began:  # else it is the recomputation
            args[0].register_hook(self._backward_ends)
            self._forward_began = time.perf_counter()

    def _behind_last_layer(self, module: Any, args: tuple) -> None:
        self.seconds += time.perf_counter() - self._forward_began
        args[0].register_hook(self._backward_begins)

    def _backward_begins(self, gradient: Any) -> None:
        self._backward_began = time.perf_counter()

    def _backward_ends(self, gradient: Any) -> None:
        self.seconds += time.perf_counter() - self._backward_began
        self._forward_began = 0.0


def make_side(name: str, args: argparse.Namespace, folder: str) -> Any:
    """The trainer of a side; all sides get the same settings but for what they stand for."""
    import pyarrow as pa
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, LlamaConfig
    from transformers.utils import is_flash_attn_2_available
    from trl import ModelConfig, SFTConfig, SFTTrainer

    from data_prep.packing import CachedRows, pack
    from data_prep.tokenization import TOKENIZED, Tally, as_lists
    from rl.attention import choose_attention
    from rl.runs import hardware_defaults
    from rl.sft import LongCotConfig, make_trainer

    lengths = real_lengths(args.samples, args.max_length, args.overlong, args.seed)
    samples = random_samples(lengths, args.shape["vocab_size"], args.seed)
    config = LlamaConfig(**{**args.shape, "num_hidden_layers": args.layers_run}, pad_token_id=0)
    common: dict[str, Any] = {
        "output_dir": folder, "max_length": args.max_length, "num_train_epochs": 1, "learning_rate": 0.0,
        "gradient_checkpointing": True, "optim": "adamw_torch", "logging_strategy": "no", "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "seed": args.seed, "dataloader_drop_last": False,
        **hardware_defaults(),
    }  # fmt: skip
    table = pa.table([as_lists([s[key] for s in samples]) for key in ("input_ids", "labels")], schema=TOKENIZED)
    flash = torch.cuda.is_available() and is_flash_attn_2_available()
    attention = {"ours": choose_attention(None, packing=True).name, "trl_padded": "sdpa"}.get(
        name, "flash_attention_2" if flash else "sdpa"
    )
    torch.manual_seed(args.seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    if name == "ours":
        training = LongCotConfig(packing=True, per_device_train_batch_size=1, **common)
        rows = CachedRows(Dataset(pack(table, args.max_length)), set(), Tally(), "", False, args.max_length)
        return make_trainer(model, ModelConfig(), training, small_tokenizer(), rows, None, []), attention
    if name == "trl_packed":
        settings = SFTConfig(packing=True, packing_strategy="bfd", per_device_train_batch_size=1, **common)
    else:
        settings = SFTConfig(packing=False, per_device_train_batch_size=PADDED_BATCH, **common)
    trainer = SFTTrainer(model=model, args=settings, processing_class=small_tokenizer(), train_dataset=Dataset(table))
    return trainer, attention


def run_side(name: str, args: argparse.Namespace) -> None:
    """Trains, and after each round prints one JSON line and waits for a line on stdin."""
    import torch
    from transformers import TrainerCallback

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        trainer, attention = make_side(name, args, folder)
        clock = LayerClock(trainer.model.model)
        counts = dict.fromkeys(("tokens", "positions", "trained_tokens", "loss_sum"), 0.0)
        step = trainer.training_step

        def counted_step(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
            mask, ids = inputs.get("attention_mask"), inputs["input_ids"]
            n_trained = (inputs["labels"][:, 1:] != -100).sum().item()
            loss = step(model, inputs, num_items_in_batch)
            counts["tokens"] += ids.numel() if mask is None else mask.sum().item()
            counts["positions"] += ids.numel()
            counts["trained_tokens"] += n_trained
            counts["loss_sum"] += loss.item() * n_trained
            return loss

        n_steps = len(trainer.get_train_dataloader())
        ends = [round((i + 1) * n_steps / args.rounds) for i in range(args.rounds)]
        began = 0.0

        class Rounds(TrainerCallback):
            def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
                trainer.current_gradient_accumulation_steps = 1
                example = {key: value[:512] for key, value in trainer.train_dataset[0].items() if key != "seq_lengths"}
                step(model, trainer.data_collator([example]))  # memory pools, threads and kernels are there now
                model.zero_grad()
                trainer.training_step = counted_step
                say({"n_steps": n_steps, "attention": attention, "bf16": trainer.args.bf16, **machine()})

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                nonlocal began
                if state.global_step in (0, *ends):
                    if not sys.stdin.readline():
                        raise SystemExit("the benchmark is gone")
                    reset_peak_memory()
                    clock.seconds = 0.0
                    counts.update(dict.fromkeys(counts, 0.0))
                    began = now()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step in ends:
                    say({"seconds": now() - began, "layer_seconds": clock.seconds, "peak": peak_memory(), **counts})

        trainer.add_callback(Rounds())
        trainer.train()


# The benchmark: starts the sides, lets them take turns, adds up.


def matmul_seconds(n_flops: float, bf16: bool) -> float:
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = torch.randn(2048, 576).to(dtype), torch.randn(576, 1536).to(dtype)
    a @ b
    began = time.perf_counter()
    for _ in range(5):
        a @ b
    return n_flops / (5 * 2 * 2048 * 576 * 1536) * (time.perf_counter() - began)


def attention_seconds(n_flops: float, n_heads: int, head_dim: int) -> float:
    import torch

    q = torch.randn(1, n_heads, 1024, head_dim)
    torch.nn.functional.scaled_dot_product_attention(q, q, q)
    began = time.perf_counter()
    torch.nn.functional.scaled_dot_product_attention(q, q, q)
    return n_flops / (4 * 1024**2 * n_heads * head_dim) * (time.perf_counter() - began)


def estimated_minutes(args: argparse.Namespace, lengths: np.ndarray, bf16: bool) -> float:
    """Minutes for all sides on a CPU, from FLOPs and how fast a product and an attention run just now.

    Per layer: 8 FLOPs per position and weight and 18 per pair of positions and width (2 products; forward twice, as
    layers are recomputed, and a backward of 2.5 forwards); the head: 8 per position and weight, and twice that time
    again for what is done with each of its many outputs.
    """
    shape, hidden = args.shape, args.shape["hidden_size"]
    head_dim = hidden // shape["num_attention_heads"]
    weights = hidden * (2 * hidden + 2 * shape["num_key_value_heads"] * head_dim + 3 * shape["intermediate_size"])
    n_rows = max(1.0, lengths.sum() / args.max_length)
    longest = np.array([batch.max() for batch in np.array_split(lengths, max(1, len(lengths) // PADDED_BATCH))], float)
    positions = 2 * lengths.sum() + PADDED_BATCH * longest.sum()
    pairs = (lengths.astype(float) ** 2).sum() / 2 + n_rows * args.max_length**2 + PADDED_BATCH * (longest**2).sum()
    head = 8.0 * positions * hidden * shape["vocab_size"]
    products = 3 * head + args.layers_run * 8.0 * positions * weights
    attention = args.layers_run * 18.0 * pairs * hidden
    seconds = 1.3 * matmul_seconds(products, bf16) + attention_seconds(
        attention, shape["num_attention_heads"], head_dim
    )
    return seconds / 60


class Side:
    """A side's process, its log, and the sums of its rounds."""

    def __init__(self, name: str, folder: Path):
        self.name, self.log = name, folder / f"{name}.log"
        command = [sys.executable, "-m", "tests.bench.sft", *sys.argv[1:], "--side", name]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.about = self.answer()
        self.rounds: list[dict[str, float]] = []

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended with code {self.process.wait()}:\n{self.log.read_text()[-3000:]}")

    def run_round(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rounds.append(self.answer())

    def total(self, key: str) -> float:
        return sum(one[key] for one in self.rounds)

    def seconds(self, layers_ratio: float) -> float:
        """Of all rounds, for `layers_ratio` times as many layers as were run."""
        return self.total("seconds") + (layers_ratio - 1) * self.total("layer_seconds")

    def tokens_per_second(self, layers_ratio: float = 1.0) -> float:
        return self.total("tokens") / self.seconds(layers_ratio)

    @property
    def peak(self) -> float:
        return max(one["peak"] for one in self.rounds)

    @property
    def loss(self) -> float:
        """Mean over all trained tokens."""
        return self.total("loss_sum") / self.total("trained_tokens")


def main() -> None:
    args = parse()
    if args.side:
        run_side(args.side, args)
        return
    import torch

    from data_prep.packing import CACHED_WINDOW_BLOCKS
    from data_prep.sources import BLOCK_ROWS
    from rl.runs import hardware_defaults

    began = time.perf_counter()
    lengths = real_lengths(args.samples, args.max_length, args.overlong, args.seed)
    print(
        f"{args.samples} samples a side, {lengths.sum():,} tokens (mean {lengths.mean():,.0f}), "
        f"{args.layers} layers of which {args.layers_run} are run",
        flush=True,
    )
    if not torch.cuda.is_available():
        minutes = estimated_minutes(args, lengths, hardware_defaults()["bf16"])
        less = "; --layers_run 1 takes less" if args.layers_run > 1 else ""
        over = f": more than {LIMIT_MINUTES}{less}" if minutes > LIMIT_MINUTES else ""
        print(f"estimated time: {minutes:.0f} minutes{over}", flush=True)

    set_size = 500 if args.smoke else CACHED_WINDOW_BLOCKS * BLOCK_ROWS
    many = real_lengths(set_size, args.max_length, args.overlong)
    efficiency, real_share = packing_efficiency(many, args.max_length), real_share_when_padded(many, PADDED_BATCH)

    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(name, Path(folder)) for name in SIDES]
        for i in range(args.rounds):
            for side in (*sides[i % 3 :], *sides[: i % 3]):
                side.run_round()
            rates = ", ".join(f"{s.name} {s.rounds[-1]['tokens'] / s.rounds[-1]['seconds']:,.0f}" for s in sides)
            print(f"round {i + 1}/{args.rounds}, real tokens/s as run: {rates}", flush=True)
        for side in sides:
            side.process.wait()

    ours, padded, packed = sides
    deeper = args.layers / args.layers_run
    print_table(
        ["", "real tokens/s", "as run", "real share", "in layers", "peak GiB", "loss", "attention"],
        [
            [
                side.name,
                side.tokens_per_second(deeper),
                side.tokens_per_second(),
                side.total("tokens") / side.total("positions"),
                side.total("layer_seconds") / side.total("seconds"),
                side.peak / 2**30,
                f"{side.loss:.5f}",
                side.about["attention"],
            ]
            for side in sides
        ],
    )
    print_result(
        {
            **{f"{side.name}_tokens_per_s": side.tokens_per_second(deeper) for side in sides},
            "ratio_padded": ours.tokens_per_second(deeper) / padded.tokens_per_second(deeper),
            "ratio_packed": ours.tokens_per_second(deeper) / packed.tokens_per_second(deeper),
            "packing_efficiency": efficiency,
            "packing_efficiency_samples": set_size,
            "padding_bound": efficiency / real_share,
            "peak_memory_ratio": ours.peak / min(padded.peak, packed.peak),
            "loss_ours": ours.loss,
            "loss_trl": packed.loss,
            "loss_trl_padded": padded.loss,
            "layers": args.layers,
            "layers_run": args.layers_run,
            "as_run": {
                **{f"{side.name}_tokens_per_s": round(side.tokens_per_second(), 2) for side in sides},
                "ratio_padded": round(ours.tokens_per_second() / padded.tokens_per_second(), 4),
                "ratio_packed": round(ours.tokens_per_second() / packed.tokens_per_second(), 4),
            },
            "samples": args.samples,
            "tokens": int(ours.total("tokens")),
            "seconds": time.perf_counter() - began,
            "dtype": "bfloat16 autocast" if ours.about["bf16"] else "float32",
            "optimizer": "adamw_torch",
            "max_length": args.max_length,
            "smoke": args.smoke,
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
