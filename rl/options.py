"""Trainer options of TRL that people change: what a short `--help` shows. Imports nothing, so that it is quick."""

COMMON = {
    "model_name_or_path": "model folder or Hub name",
    "output_dir": "where checkpoints and the model go; a run found there is resumed",
    "max_length": "longest sample and length of a packed row, in tokens (default: 16384)",
    "packing": "several samples in one row, documents kept apart (default: True)",
    "num_train_epochs": "passes over the data (default: 3.0)",
    "max_steps": "optimizer steps, instead of epochs (default: -1)",
    "per_device_train_batch_size": "rows per device and forward pass (default: 1)",
    "gradient_accumulation_steps": "forward passes per optimizer step (default: 1)",
    "learning_rate": "peak learning rate (default: 1e-05)",
    "lr_scheduler_type": "cosine, linear, constant, ... (default: cosine)",
    "warmup_steps": "steps, or below 1 a share of all steps (default: 0.05)",
    "weight_decay": "(default: 0.0)",
    "gradient_checkpointing": "recompute activations: less memory, a third more time (default: True)",
    "bf16": "mixed precision; on where the hardware has it",
    "attn_implementation": "attention; chosen to suit packing where not given",
    "use_peft": "train LoRA adapters (--lora_r, --lora_alpha, ...) (default: False)",
    "load_in_4bit": "QLoRA: 4-bit base weights, needs bitsandbytes (default: False)",
    "save_steps": "optimizer steps between checkpoints (default: 500)",
    "eval_strategy": "no, steps or epoch (default: no)",
    "report_to": "trackio, wandb, tensorboard or none (default: none)",
    "seed": "(default: 42)",
}

# The same for samples with figures, where they differ.
GEOMETRY_COMMON = {name: text for name, text in COMMON.items() if name not in ("packing", "attn_implementation")} | {
    "max_length": "longest sample with its figures, in tokens (default: 8192)",
    "per_device_train_batch_size": "samples per device and forward pass (default: 1)",
    "gradient_accumulation_steps": "forward passes per optimizer step (default: 8)",
}

# The same for process preference models, where they differ.
PPM_COMMON = {
    "output_dir": "where checkpoints and the model go; a run found there is resumed",
    "num_train_epochs": "passes over the data (default: 1.0)",
    "max_steps": "optimizer steps, instead of epochs (default: -1)",
    "per_device_train_batch_size": "trees per device and forward pass (default: 1)",
    "gradient_accumulation_steps": "forward passes per optimizer step (default: 1)",
    "learning_rate": "peak learning rate (default: 7e-06)",
    "lr_scheduler_type": "cosine, linear, constant, ... (default: cosine)",
    "warmup_steps": "steps, or below 1 a share of all steps (default: 0.05)",
    "weight_decay": "(default: 0.0)",
    "gradient_checkpointing": "recompute activations: less memory, a third more time (default: True)",
    "bf16": "mixed precision; on where the hardware has it",
    "save_steps": "optimizer steps between checkpoints (default: 500)",
    "eval_strategy": "no, steps or epoch; held-out problems are always measured at the end (default: no)",
    "report_to": "trackio, wandb, tensorboard or none (default: none)",
    "seed": "(default: 42)",
}

# Trainer settings that a resumed run must share with the one that was begun.
DECISIVE = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "adam_beta1",
    "adam_beta2", "adam_epsilon", "max_grad_norm", "optim", "optim_args", "optim_target_modules", "num_train_epochs",
    "max_steps", "bf16", "fp16", "neftune_noise_alpha", "label_smoothing_factor", "loss_type", "data_seed",
    "average_tokens_across_devices",
)  # fmt: skip

# The same for preferences.
PREFERENCES = (
    "beta", "loss_weights", "label_smoothing", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef",
    "use_weighting", "discopop_tau", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps",
)  # fmt: skip

# The same for rollouts.
ROLLOUTS = (
    "num_generations", "generation_batch_size", "steps_per_generation", "num_iterations", "max_completion_length",
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "beta", "epsilon", "epsilon_high", "delta",
    "scale_rewards", "importance_sampling_level", "mask_truncated_completions", "top_entropy_quantile",
    "disable_dropout", "cast_lm_head_to_fp32", "router_aux_loss_coef", "generation_kwargs", "chat_template_kwargs",
    "use_vllm", "multi_objective_aggregation", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps",
    "entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta",
    "entropy_target", "off_policy_mask_threshold", "use_bias_correction_kl", "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
    "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
    "vespo_lambda_neg",
)  # fmt: skip

# The same for GRPO, where they differ.
GRPO_COMMON = {
    "model_name_or_path": "the policy to begin from: model folder or Hub name",
    "output_dir": "where checkpoints, rollouts and the model go; a run found there is resumed",
    "max_steps": "optimizer steps, instead of epochs (default: -1)",
    "num_train_epochs": "passes over the problems (default: 3.0)",
    "per_device_train_batch_size": "rollouts per device and forward pass (default: 8)",
    "gradient_accumulation_steps": "forward passes per optimizer step (default: 8)",
    "num_generations": "rollouts of a problem, its group (default: 8)",
    "max_completion_length": "longest rollout, in tokens (default: 8192)",
    "temperature": "of the rollouts (default: 1.0)",
    "learning_rate": "peak learning rate (default: 1e-06)",
    "use_peft": "train LoRA adapters (--lora_r, --lora_alpha, ...) instead of all weights (default: False)",
    "beta": "weight of the KL to the first policy (default: 0.0)",
    "loss_type": "dapo, dr_grpo, grpo, bnpo, ... (default: dapo)",
    "epsilon_high": "upper clip, if not epsilon: 0.28 in DAPO",
    "scale_rewards": "group, batch or none (default: group)",
    "num_iterations": "updates with each generation (default: 1)",
    "mask_truncated_completions": "rollouts that were cut teach nothing (default: False)",
    "use_vllm": "rollouts by vLLM, see vllm_mode (default: False)",
    "eval_steps": "steps between measurements on held-out problems (with eval_strategy steps)",
    "save_steps": "optimizer steps between checkpoints (default: 500)",
    "report_to": "trackio, wandb, tensorboard or none (default: none)",
    "seed": "(default: 42)",
}

# The same for PPO, where they differ.
PPO_COMMON = GRPO_COMMON | {
    "num_generations": "rollouts of a problem, at least 2 (default: 8)",
    "learning_rate": "peak learning rate of the policy (default: 1e-06)",
    "beta": "weight of the KL to the first policy, see kl (default: 0.0)",
    "loss_type": "mean of the policy's loss: dapo, dr_grpo, grpo, bnpo, ... (default: dapo)",
    "num_iterations": "updates with each generation (default: 1)",
}
del PPO_COMMON["scale_rewards"], PPO_COMMON["use_peft"]

# The same for DPO.
DPO_COMMON = {
    "model_name_or_path": "the policy to begin from: model folder or Hub name",
    "output_dir": "where checkpoints and the model go; a run found there is resumed",
    "max_length": "longest prompt and response, in tokens; longer pairs are left out (default: 16384)",
    "num_train_epochs": "passes over the pairs (default: 3.0)",
    "max_steps": "optimizer steps, instead of epochs (default: -1)",
    "per_device_train_batch_size": "pairs per device and forward pass (default: 1)",
    "gradient_accumulation_steps": "forward passes per optimizer step (default: 8)",
    "learning_rate": "peak learning rate (default: 1e-06)",
    "lr_scheduler_type": "cosine, linear, constant, ... (default: linear)",
    "beta": "how closely the policy is held to the first one (default: 0.1)",
    "use_peft": "train LoRA adapters (--lora_r, --lora_alpha, ...) (default: False)",
    "loss_type": "sigmoid (if none is given), ipo, sft, ...; several are added",
    "loss_weights": "of several losses, if not 1 each",
    "precompute_ref_log_probs": "the first policy reads all pairs before training: less memory (default: False)",
    "gradient_checkpointing": "recompute activations: less memory, a third more time (default: True)",
    "bf16": "mixed precision; on where the hardware has it",
    "save_steps": "optimizer steps between checkpoints (default: 500)",
    "eval_strategy": "no, steps or epoch; held-out pairs are always measured at the end (default: no)",
    "report_to": "trackio, wandb, tensorboard or none (default: none)",
    "seed": "(default: 42)",
}
