"""What solutions cost, by hand."""

import pytest
from transformers import (
    DeepseekV3Config,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from data_prep.mcts.costs import Cost, cost_of, counted, flops, flops_per_token, prompt_cost
from data_prep.mcts.tree import ANSWER, Tree


def words(text: str) -> int:
    return len(text.split())


def small() -> Tree:
    """Prompt of 4 words; two steps of 5 and 3 tokens, the first with an output of 2; a dropped candidate of 7."""
    tree = Tree({"problem_id": "p1-x", "problem": "Q", "answer": "1"}, 0, 0, "a b c d")
    first = tree.add(tree.root, step="s", output="o p", n_tokens=5, prior_score=0.5)
    dropped = tree.add(tree.root, step="t", output="is never seen", n_tokens=7, terminal="dropped: duplicate")
    tree.root.children, tree.root.dropped = [first], [dropped]
    end = tree.add(first, step="u", n_tokens=3, terminal=ANSWER, extracted="1", verdict="right")
    first.children = [end]
    return tree


def test_tokens_of_a_tree_by_hand() -> None:
    tree = small()
    cost = cost_of(tree, tree.nodes(), words, scored=True)
    assert (cost.generated, cost.prefilled, cost.scored) == (5 + 7 + 3, 2, 5 + 2 + 3)
    # Each token sees those before it: 4 + half of 7, 4 + half of 7 (dropped), 11 + half of 3.
    assert cost.seen == 7 * (4 + 3.5) + 7 * (4 + 3.5) + 3 * (11 + 1.5)
    unscored = cost_of(tree, tree.nodes(), words, scored=False)
    assert unscored == cost._replace(scored=0.0)
    assert cost_of(tree, [], words, scored=True) == Cost()
    assert prompt_cost(tree, words, scored=True) == Cost(0, 4, 4, 8)
    assert prompt_cost(tree, words, scored=False) == Cost(0, 4, 0, 8)


def config(**values: int) -> Qwen2Config:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 3, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 100}  # fmt: skip
    return Qwen2Config(**sizes | values)


def test_operations_are_two_for_each_weight_of_the_matrices() -> None:
    blocks, head, attention = flops_per_token(config())
    q_and_o, k_and_v, mlp = 2 * 8 * 8, 2 * 8 * 4, 3 * 8 * 12
    assert blocks == 2 * 3 * (q_and_o + k_and_v + mlp)
    assert head == 2 * 8 * 100
    assert attention == 4 * 3 * 8
    wide = Qwen3Config(hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=4,
                       num_key_value_heads=2, head_dim=16, vocab_size=100)  # fmt: skip
    assert flops_per_token(wide)[0] == 2 * 3 * (2 * 8 * 64 + 2 * 8 * 32 + mlp)


def test_operations_agree_with_the_weights_of_a_model() -> None:
    from transformers import Qwen2ForCausalLM

    model = Qwen2ForCausalLM(config())
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    blocks, head, _ = flops_per_token(model.config)
    assert blocks + head == 2 * weights


def test_a_cost_in_operations_by_hand() -> None:
    blocks, head, attention = flops_per_token(config())
    cost = Cost(generated=10, prefilled=6, scored=8, seen=50)
    alone = blocks * 16 + head * 10 + attention * 50
    assert flops(cost, config(), None) == alone
    assert flops(cost, config(), config()) == pytest.approx(alone + blocks * 8 + attention * 50 / 2)


def test_a_config_without_sizes_is_named() -> None:
    from transformers import MambaConfig

    with pytest.raises(ValueError, match=r"no count of operations for mamba: its config has no .*num_attention_heads"):
        flops_per_token(MambaConfig())


@pytest.mark.parametrize("odd", [MixtralConfig(), Qwen3MoeConfig(), DeepseekV3Config()])
def test_mixtures_of_experts_are_not_counted(odd: PretrainedConfig, capsys: pytest.CaptureFixture[str]) -> None:
    """Their configs have all the sizes, but a token does not go through all of them."""
    with pytest.raises(ValueError, match=r"it is a mixture of experts \(n"):
        flops_per_token(odd)
    assert counted(odd, "the policy") is None
    assert capsys.readouterr().out.startswith("FLOPs      of the policy are not counted: no count of operations for")


def test_what_can_be_counted_is_and_what_is_not_known_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    known = config()
    assert counted(known, "the policy") is known
    assert counted(None, "the scorer") is None
    assert not capsys.readouterr().out
