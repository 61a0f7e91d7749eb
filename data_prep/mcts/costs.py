"""What finding an answer costs: tokens by what is done with them, and floating-point operations from model configs."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from data_prep.mcts.tree import Node, Tree


class Cost(NamedTuple):
    """Tokens, each once however often a step is gone through, as engines with prefix caching compute them.

    `generated`: by the policy, candidates that were dropped among them. `prefilled`: read by the policy, prompt and
    outputs of programs. `scored`: read by the scorer, counted in the policy's tokens. `seen`: for each generated and
    prefilled token the tokens before it, added up.
    """

    generated: float = 0.0
    prefilled: float = 0.0
    scored: float = 0.0
    seen: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


def prompt_cost(tree: Tree, n_tokens: Callable[[str], int], scored: bool) -> Cost:
    """What reading the prompt costs, which all solutions of a problem share. `scored`: a scorer reads it as well."""
    n = n_tokens(tree.prompt)
    return Cost(0.0, n, n if scored else 0.0, n * n / 2)


def cost_of(tree: Tree, nodes: Iterable[Node], n_tokens: Callable[[str], int], scored: bool) -> Cost:
    """What these nodes of a tree have cost beside the prompt. `scored`: whether a scorer has read them."""
    depth = {id(tree.root): n_tokens(tree.prompt)}

    def before(node: Node) -> int:
        """Tokens up to the end of a node."""
        if id(node) not in depth:
            assert node.parent is not None
            depth[id(node)] = before(node.parent) + node.n_tokens + output_tokens(node)
        return depth[id(node)]

    def output_tokens(node: Node) -> int:
        dropped = (node.terminal or "").startswith("dropped")  # the policy never sees its output
        return n_tokens(node.output) if node.output and not dropped else 0

    generated = prefilled = read = seen = 0.0
    for node in nodes:
        if node.parent is None:
            continue
        own, shown = node.n_tokens, output_tokens(node)
        generated += own
        prefilled += shown
        seen += (own + shown) * (before(node.parent) + (own + shown) / 2)
        if scored and not (node.terminal or "").startswith("dropped"):
            read += own + shown
    return Cost(generated, prefilled, read, seen)


def flops_per_token(config: Any) -> tuple[float, float, float]:
    """Floating-point operations of a dense transformer for one token: of its blocks, of its language-model head, and
    of attention for each token that it sees.

    Two for each weight of a matrix that a token goes through (the MLP has three: gate, up, down), and 4 x layers x
    heads x head dimension for each pair of query and key (Kaplan et al., arXiv 2001.08361, section 2.1). Norms and
    embeddings are left out. Raises ValueError for a config that lacks one of the sizes, and for mixtures of experts,
    where only some of the weights are used.
    """
    text = config.get_text_config()
    experts = [name for name in ("num_experts", "num_local_experts", "n_routed_experts") if getattr(text, name, None)]
    if experts:
        raise ValueError(f"no count of operations for {text.model_type}: it is a mixture of experts ({experts[0]})")
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    missing = [name for name in names if not isinstance(getattr(text, name, None), int)]
    if missing:
        raise ValueError(f"no count of operations for {text.model_type}: its config has no {', '.join(missing)}")
    hidden, heads = text.hidden_size, text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or hidden // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    layer = attention + 3 * hidden * text.intermediate_size
    return (
        2.0 * text.num_hidden_layers * layer, 2.0 * hidden * text.vocab_size,
        4.0 * text.num_hidden_layers * heads * head_dim,
    )  # fmt: skip


def counted(config: Any, name: str) -> Any:
    """The config of a model if its operations can be counted; else None, and a line that says why. None stays None."""
    if config is not None:
        try:
            flops_per_token(config)
        except ValueError as error:
            print(f"FLOPs      of {name} are not counted: {error}", flush=True)
            return None
    return config


def flops(cost: Cost, policy: Any, scorer: Any | None) -> float:
    """Operations of a cost. `policy`, `scorer`: transformers configs; no scorer: what it reads costs nothing.

    Raises ValueError as `flops_per_token` does.
    """
    blocks, head, attention = flops_per_token(policy)
    total = blocks * (cost.generated + cost.prefilled) + head * cost.generated + attention * cost.seen
    if scorer is not None and cost.scored:
        blocks, _, attention = flops_per_token(scorer)
        share = cost.scored / (cost.generated + cost.prefilled)  # what it does not read are dropped candidates
        total += blocks * cost.scored + attention * cost.seen * min(1.0, share)
    return total
