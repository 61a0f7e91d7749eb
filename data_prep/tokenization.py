"""Long-CoT samples to token ids and labels: our own rendering, masking and counting.

A conversation is rendered by the model's chat template, cut where the assistant's turns begin and end, tokenised
segment by segment, and the ids are joined. So a boundary in the text is always a boundary in the ids, in training
as in generation. The loss covers the assistant's turns, thoughts and end-of-turn tokens included, and nothing else.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from data_prep.formats import is_unclosed, to_sample
from data_prep.rows import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 256
IGNORED = -100  # the label of a token that carries no loss, as torch's cross entropy has it
TOKENIZED = pa.schema([("input_ids", pa.large_list(pa.int32())), ("labels", pa.large_list(pa.int32()))])


@dataclass(frozen=True)
class Rules:
    """What to do with samples that cannot be used as they are. `drop` counts the sample, `error` stops the run."""

    max_length: int
    overlong: Literal["drop", "cut", "error"] = "drop"
    unclosed_thought: Literal["drop", "keep", "error"] = "drop"
    fully_masked: Literal["drop", "error"] = "error"
    bad_row: Literal["drop", "error"] = "error"
    # Which problems are used: all, or those (not) held out for evaluation, `eval_share` of them chosen by their id.
    part: Literal["all", "train", "eval"] = "all"
    eval_share: float = 0.0


def part_of(problem_id: str, eval_share: float) -> Literal["train", "eval"]:
    """Whether a problem is held out; all samples of a problem are in the same part, in every run."""
    return "eval" if int(hashlib.sha256(problem_id.encode()).hexdigest()[:8], 16) < eval_share * 16**8 else "train"


@dataclass
class Tally:
    """Counts of what was read, kept, cut and dropped; `dropped` by reason."""

    rows: int = 0
    kept: int = 0
    cut: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dropped = Counter(self.dropped)

    def add(self, other: "Tally") -> None:
        self.rows += other.rows
        self.kept += other.kept
        self.cut += other.cut
        self.tokens += other.tokens
        self.trained_tokens += other.trained_tokens
        self.dropped.update(other.dropped)

    def __str__(self) -> str:
        text = (
            f"{self.rows:,} rows read, {self.kept:,} kept, {self.tokens:,} tokens ({self.trained_tokens:,} trained on)"
        )
        if self.cut:
            text += f", {self.cut:,} cut"
        if self.dropped:
            text += ", dropped: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.dropped.items()))
        return text

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "dropped": dict(self.dropped)}


def render(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, str]], stops: Mapping[str, bool], where: str
) -> list[tuple[str, bool]]:
    """The conversation as (text, is trained on) segments whose texts join to the chat template's own rendering.

    `stops`: texts of the tokens that may end a turn (see `end_of_turn_texts`), and whether they swallow the white space
    behind them. A turn that none of them ends is trained on up to the end of its content. Raises RowError if the
    template changes an assistant turn (some drop the thought) or cannot render the roles.
    """
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    try:
        # Each turn is looked up in the whole: what a template writes at the end of a conversation (Phi-3 its
        # end-of-text token) is not there when the conversation goes on.
        whole = tokenizer.apply_chat_template(list(messages[: turns[-1] + 1]), tokenize=False)
        starts = [
            tokenizer.apply_chat_template(list(messages[:i]), tokenize=False, add_generation_prompt=True) for i in turns
        ]
    except Exception as error:  # a template raises whatever it likes
        raise RowError(f"{where}: the chat template cannot render this conversation: {error}") from None
    segments: list[tuple[str, bool]] = []
    done = 0
    for i, before, following in zip(turns, starts, [*starts[1:], whole], strict=True):
        content = messages[i]["content"].strip()
        turn = whole[len(before) : len(following)]
        if len(before) < done or not whole.startswith(before) or content not in turn:
            raise RowError(
                f"{where}: the chat template rewrites assistant turn {i} (templates of reasoning models drop the "
                "thought): give one that keeps it with --chat_template_path"
            )
        # What follows the end-of-turn token (a newline in ChatML) belongs to the next segment: no model writes it.
        end = turn.index(content) + len(content)
        stop = end
        if found := [(turn.index(text, end) + len(text), text) for text in stops if text in turn[end:]]:
            after, text = min(found)
            # Further away it ends the next speaker's turn, unless this turn is the last.
            if i == turns[-1] or not turn[end : after - len(text)].strip():
                stop = after
                if stops[text]:  # by itself the white space would become a token that the template's own ids lack
                    stop += len(turn[stop:]) - len(turn[stop:].lstrip())
        segments += [(whole[done : len(before)], False), (turn[:stop], True)]
        done = len(before) + stop
    if whole[done:]:
        segments.append((whole[done:], False))
    return segments


def end_of_turn_texts(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Tokens that may end a turn: the end-of-text token and the special tokens of the common chat forms."""
    known = ("<|im_end|>", "<|end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>")
    vocabulary = tokenizer.get_vocab()
    return [text for text in dict.fromkeys([*known, str(tokenizer.eos_token)]) if text in vocabulary]


def tokenize(
    rows: Iterable[tuple[str, Mapping[str, Any]]], tokenizer: "PreTrainedTokenizerBase", rules: Rules
) -> tuple[pa.Table, list[str], Tally]:
    """Tokenises rows into a table of `input_ids` and `labels` (int32 lists, equal lengths).

    `rows`: (where, row) pairs in any stored form. Returns the table, the problem id of each of its rows, and the
    counts. Raises RowError, or drops and counts, as the rules say.
    """
    tally = Tally()
    problem_ids: list[str] = []
    swallowing = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.rstrip}
    stops = {text: text in swallowing for text in end_of_turn_texts(tokenizer)}
    pieces: list[str] = []
    samples: list[tuple[str, str, list[bool]]] = []
    for where, row in rows:
        tally.rows += 1
        try:
            sample = to_sample(row, where)
            messages = sample["messages"]
            segments = render(tokenizer, messages, stops, where)
        except RowError:
            if rules.bad_row == "error":
                raise
            tally.dropped["bad row"] += 1
            continue
        if rules.part != "all" and rules.part != part_of(sample["problem_id"], rules.eval_share):
            tally.dropped["in the other part (held out or not)"] += 1
            continue
        if rules.unclosed_thought != "keep" and any(
            message["role"] == "assistant" and is_unclosed(message["content"]) for message in messages
        ):
            if rules.unclosed_thought == "error":
                raise RowError(f"{where}: a thought is never closed (--unclosed_thought drop or keep goes on)")
            tally.dropped["unclosed thought"] += 1
            continue
        samples.append((where, sample["problem_id"], [trained for _, trained in segments]))
        pieces += [text for text, _ in segments]

    encoded = encode(pieces, tokenizer)
    ids: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for where, sample_id, trained in samples:
        parts = [next(encoded) for _ in trained]
        sample_ids = np.concatenate(parts)
        sample_labels = np.concatenate(
            [
                part if is_trained else np.full_like(part, IGNORED)
                for part, is_trained in zip(parts, trained, strict=True)
            ]
        )
        if len(sample_ids) > rules.max_length:
            if rules.overlong == "error":
                raise RowError(
                    f"{where}: {len(sample_ids)} tokens, more than --max_length {rules.max_length} "
                    "(--overlong drop or cut goes on)"
                )
            if rules.overlong == "drop":
                tally.dropped["over-long"] += 1
                continue
            sample_ids, sample_labels = sample_ids[: rules.max_length], sample_labels[: rules.max_length]
            tally.cut += 1
        n_trained = int((sample_labels[1:] != IGNORED).sum())  # the first token is predicted from nothing
        if n_trained == 0:
            if rules.fully_masked == "error":
                raise RowError(
                    f"{where}: no token to train on is left within --max_length {rules.max_length} "
                    "(--fully_masked drop goes on)"
                )
            tally.dropped["fully masked"] += 1
            continue
        tally.kept += 1
        tally.tokens += len(sample_ids)
        tally.trained_tokens += n_trained
        problem_ids.append(sample_id)
        ids.append(sample_ids)
        labels.append(sample_labels)
    table = pa.table([as_lists(ids), as_lists(labels)], schema=TOKENIZED)
    return table, problem_ids, tally


def encode(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> Iterator[np.ndarray]:
    """Token ids (int32) of each text, a few texts at a time: an encoding holds ten times as much as its ids."""
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    if backend is not None:
        backend.no_truncation()  # both are left over from the last call, whoever made it
        backend.no_padding()
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        batch = list(texts[start : start + TEXTS_AT_ONCE])
        if backend is not None:  # without offsets, which are not needed and take a third of the time
            yield from (np.array(e.ids, np.int32) for e in backend.encode_batch_fast(batch, add_special_tokens=False))
        else:
            slow = tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]
            yield from (np.array(ids, np.int32) for ids in slow)


def as_lists(arrays: list[np.ndarray]) -> pa.LargeListArray:
    offsets = np.cumsum([0, *(len(a) for a in arrays)])
    values = np.concatenate(arrays) if arrays else np.zeros(0, np.int32)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values, pa.int32()))
