"""Muon in float32: `torch.optim.Muon` orthogonalises in bfloat16, which CPUs without it emulate 18 times slower."""

from collections import defaultdict
from collections.abc import Iterable

import torch

# Quintic Newton-Schulz: https://kellerjordan.github.io/posts/muon/
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_STEPS = 5


def orthogonalise(matrices_NAB: torch.Tensor) -> torch.Tensor:
    """N matrices with all singular values brought near one, float32 in and out."""
    if matrices_NAB.shape[1] > matrices_NAB.shape[2]:
        return orthogonalise(matrices_NAB.mT).mT
    a, b, c = COEFFICIENTS
    x_NAB = matrices_NAB / matrices_NAB.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(N_STEPS):
        gram_NAA = x_NAB @ x_NAB.mT
        x_NAB = torch.baddbmm(x_NAB, torch.baddbmm(gram_NAA, gram_NAA, gram_NAA, beta=b, alpha=c), x_NAB, beta=a)
    return x_NAB


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, for matrices; with the step size of AdamW (arXiv 2502.16982).

    The same as `torch.optim.Muon(..., adjust_lr_fn="match_rms_adamw")` but for the precision. Matrices of one shape are
    updated together.
    """

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.1
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[torch.nn.Parameter, torch.Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    mean = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                    mean.lerp_(parameter.grad, 1 - group["momentum"])
                    by_shape[parameter.shape].append((parameter, parameter.grad.lerp(mean, group["momentum"])))
            for shape, found in by_shape.items():
                step_size = group["lr"] * 0.2 * max(shape) ** 0.5
                directions = orthogonalise(torch.stack([update for _, update in found]))
                for (parameter, _), direction in zip(found, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=step_size)


def optimizers_of(
    model: torch.nn.Module, learning_rate: float, n_steps: int
) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
    """Muon for the matrices, AdamW for embeddings and the rest (together they learn a small base in half as many steps
    as AdamW alone), and their schedules: constant for 60 % of the steps, then down to a fiftieth.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=learning_rate),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    schedules: list[torch.optim.lr_scheduler.LRScheduler] = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda i: min((i + 1) / 50, 1.0, max(0.02, (n_steps - i) / (0.4 * n_steps)))
        )
        for optimizer in optimizers
    ]
    return optimizers, schedules
