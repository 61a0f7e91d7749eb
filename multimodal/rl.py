"""Policy gradients with figures, on the trainer that texts have: settings, and whether figures are used.

TRL's `GRPOTrainer` reads a column `images` and generates with the processor
(https://huggingface.co/docs/trl/main/en/grpo_trainer#vision-language-model-vlm-training). A batch with figures is
updated with padding: where its patches stand in a packed row each model decides for itself.
"""

from typing import Any

from datasets import Dataset, Image, List

from multimodal.controls import CONTROLS, Control, other_figures
from multimodal.sft import check_pixels
from rl.online import RlConfig
from rl.online import check_settings as check_rollouts
from rl.rollouts import RolloutTrainer
from rl.runs import refuse

# Of `RolloutArguments`, what is for texts alone.
WITHOUT_EFFECT = (
    "steps", "scorer", "process_credit", "process_weight", "process_gate", "process_temperature", "tests_passed",
    "max_replacements",
)  # fmt: skip


def check_settings(args: Any, training: RlConfig) -> None:
    """Raises ValueError for settings that would have no effect, or a wrong one."""
    refuse(args, WITHOUT_EFFECT)
    check_pixels(args.max_image_pixels)
    check_rollouts(args, training)


class FigureRolloutTrainer(RolloutTrainer):
    """Each measurement on held-out problems is also one with white and with exchanged figures: `eval_figures/blank`,
    `eval_figures/swapped`, the shares that are right, of `eval_figures/problems`. The monitor compares.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.controls: dict[Control, Dataset] = {}
        if isinstance(self.eval_dataset, Dataset):
            self.controls = {control: with_other_figures(self.eval_dataset, control) for control in CONTROLS}

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        if eval_dataset is None:
            right = {control: self._right_with(control, rows) for control, rows in self.controls.items()}
            self._metrics["eval"]["figures/problems"].append(float(len(self.eval_dataset)))
            for control, share in right.items():
                self._metrics["eval"][f"figures/{control}"].append(share)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def _right_with(self, control: Control, rows: Dataset) -> float:
        """The share of problems that are right with these figures."""
        self.evaluation_loop(self.get_eval_dataloader(rows), f"held out, figures {control}", prediction_loss_only=True)
        values = self._metrics["eval"]["rewards/outcome/mean"]
        self._metrics["eval"].clear()
        return sum(values) / len(values)


def with_other_figures(dataset: Dataset, control: Control) -> Dataset:
    """The rows of a dataset of prompts with other figures, see `other_figures`."""
    encoded = dataset.cast_column("images", List(Image(decode=False)))["images"]
    others = other_figures([[image["bytes"] for image in own] for own in encoded], control)
    return dataset.remove_columns("images").add_column("images", others).cast_column("images", List(Image()))
