"""Muon in float32 does what torch's does in bfloat16."""

import pytest
import torch

from rl.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 24, 8), (2, 8, 24), (1, 16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_follows_torch() -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((24, 8), (8, 24), (24, 8))]
    ours, theirs = ([torch.nn.Parameter(x.clone()) for x in start] for _ in range(2))
    optimizers = [Muon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02, adjust_lr_fn="match_rms_adamw")]
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for begun, mine, other in zip(start, ours, theirs, strict=True):
        moved = (other - begun).norm()
        assert moved > 0.05
        assert (mine - other).norm() < 0.02 * moved  # bfloat16 has three digits


def test_parameters_without_a_gradient_stay() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    Muon([parameter], lr=0.1).step()
    assert torch.equal(parameter, torch.ones(2, 3))
