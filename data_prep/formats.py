"""Text formats on the way in: thought markers of other teams, and conversations in the forms people store them in.

The project's own form of Long CoT is `<think>...</think>` and then the answer in `\\boxed{}`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_prep.rows import ID_VERSION, RowError, problem_id, validate_messages

THINK, END_THINK = "<think>", "</think>"

# Sky-T1 / STILL-2 write the thought and the solution between these (https://github.com/NovaSky-AI/SkyThought).
SKY_THOUGHT, SKY_END_THOUGHT = "<|begin_of_thought|>", "<|end_of_thought|>"
SKY_SOLUTION, SKY_END_SOLUTION = "<|begin_of_solution|>", "<|end_of_solution|>"
# ShareGPT and its relatives name the speaker so.
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def convert_markers(response: str) -> str:
    """A response with its thought in `<think>` markers, whichever markers it came in.

    Sky-T1's markers are replaced; a missing opening tag (R1's template puts it into the prompt) is added. A thought
    that is never closed stays open. Text without any marker comes back as it is.
    """
    text = response.lstrip()
    if text.startswith(SKY_THOUGHT) or (SKY_END_THOUGHT in text and SKY_THOUGHT not in text and THINK not in text):
        text = text.removeprefix(SKY_THOUGHT)
        # A solution that begins ends the thought, whether that was marked or not.
        thought, closed, solution = text.partition(SKY_END_THOUGHT if SKY_END_THOUGHT in text else SKY_SOLUTION)
        thought = thought.strip("\n")
        if not closed:
            return f"{THINK}\n{thought}"
        solution = solution.strip().removeprefix(SKY_SOLUTION).removesuffix(SKY_END_SOLUTION).strip()
        return f"{THINK}\n{thought}\n{END_THINK}\n\n{solution}".rstrip()
    if END_THINK in text and THINK not in text:
        return f"{THINK}\n{text}"
    return response


def is_unclosed(response: str) -> bool:
    """Whether the response opens a thought and never ends it."""
    return response.rfind(THINK) > response.rfind(END_THINK)


def opens_thought(prompt: Any, responses: Iterable[str]) -> bool:
    """Whether the prompt has opened the thought that responses continue, as some chat templates do.

    A text shows it by its end. Of messages, which a server renders, the `responses` tell, which are those that have
    come to their end: most of them close a thought that they have not opened.
    """
    if isinstance(prompt, str):
        return prompt.rstrip().endswith(THINK)
    closing = [END_THINK in text and THINK not in text.partition(END_THINK)[0] for text in responses]
    return sum(closing) > len(closing) / 2


def to_sample(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A Long-CoT sample row from any of the stored forms, with thought markers converted.

    Known by their columns: `messages` (chat), `conversations` (ShareGPT), `instruction`/`input`/`output` (Alpaca, with
    `history`), `query`/`response`, `prompt`/`completion`, `problem`/`response`; a text in `system` becomes the system
    turn of a conversation that does not begin with one. `where` names file and row in errors.
    Raises RowError.
    """
    if row.get("messages") is not None:
        messages = row["messages"]
    elif isinstance(row.get("conversations"), list):
        turns = row["conversations"]
        if any(not isinstance(turn, Mapping) or "from" not in turn for turn in turns):
            messages = turns
        else:
            unknown = sorted({str(turn["from"]) for turn in turns} - set(ROLES))
            if unknown:
                raise RowError(f"{where}: unknown speaker {unknown[0]!r} in 'conversations'; known: {', '.join(ROLES)}")
            messages = [{"role": ROLES[turn["from"]], "content": turn.get("value")} for turn in turns]
    else:
        for question, answer in (
            ("instruction", "output"),
            ("query", "response"),
            ("prompt", "completion"),
            ("problem", "response"),
        ):
            if row.get(question) is not None and row.get(answer) is not None:
                content = row[question]
                if question == "instruction" and row.get("input"):
                    content = f"{content}\n\n{row['input']}"
                turns = [*earlier_turns(row.get("history"), where), (content, row[answer])]
                messages = [
                    {"role": role, "content": text}
                    for turn in turns
                    for role, text in zip(("user", "assistant"), turn, strict=True)
                ]
                break
        else:
            raise RowError(
                f"{where}: no conversation found in columns {sorted(row)}; expected 'messages', 'conversations', "
                "'instruction' and 'output', 'query' and 'response', 'prompt' and 'completion' or "
                "'problem' and 'response'"
            )
    validate_messages(messages, where)
    system = row.get("system")
    if isinstance(system, str) and system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
        validate_messages(messages, where)
    messages = [
        {"role": m["role"], "content": convert_markers(m["content"]) if m["role"] == "assistant" else m["content"]}
        for m in messages
    ]
    problem = row.get("problem")
    if not isinstance(problem, str):
        problem = next((m["content"] for m in messages if m["role"] == "user"), "")
    own = own_id(row.get("problem_id")) or problem_id(problem)
    return {**row, "problem": problem, "problem_id": own, "messages": messages}


def earlier_turns(history: Any, where: str) -> list[Sequence[str]]:
    """Alpaca's `history`: pairs of question and answer that come before the row's own."""
    if not history:
        return []
    if not isinstance(history, list) or not all(isinstance(t, list | tuple) and len(t) == 2 for t in history):
        raise RowError(f"{where}: 'history' is no list of [question, answer]")
    return history


def own_id(value: Any) -> str | None:
    """A stored problem id if it follows our rule. Another team's ids would never match those of a benchmark."""
    return value if isinstance(value, str) and value.startswith(ID_VERSION) else None
