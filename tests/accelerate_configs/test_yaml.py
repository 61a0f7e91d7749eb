"""Accelerate understands all of every configuration (by itself it ignores unknown nested keys)."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

FOLDER = Path(__file__).parents[2] / "accelerate_configs"
FILES = sorted(FOLDER.glob("*.yaml"))
LAUNCH_OPTIONS = {action.dest for action in launch_command_parser()._actions}
EXPECTED = {
    *("cpu", "ddp", "zero1", "zero2", "zero3", "zero3_offload", "fsdp2", "ulysses"),
    *("ddp_multinode", "zero2_multinode", "zero3_multinode", "fsdp2_multinode"),
}


def launch_arguments(path: Path, *options: str):
    """What `accelerate launch` makes of the file and the options."""
    args = launch_command_parser().parse_args([f"--config_file={path}", *options, "recipe.py"])
    return _validate_launch_command(args)[0]


def test_all_documented_files_exist():
    assert {path.stem for path in FILES} == EXPECTED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads_strictly(path):
    config = load_config_from_file(str(path))  # refuses unknown keys at the top level
    content = yaml.safe_load(path.read_text())
    for section, values in content.items():
        if isinstance(values, dict):
            unknown = set(values) - LAUNCH_OPTIONS
            assert not unknown, f"{path.name}: {section} has keys unknown to accelerate: {sorted(unknown)}"
    assert config.num_machines * (2 if path.stem == "cpu" else 8) == config.num_processes
    # `bf16` of the recipe alone decides the precision: two places could contradict each other.
    assert "mixed_precision" not in content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_first_line_says_for_which_hardware_and_when(path):
    first_line = path.read_text().splitlines()[0]
    assert re.match(r"# \d+ (node|process)", first_line), first_line
    assert ":" in first_line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_command_line_wins(path):
    args = launch_arguments(path, "--num_processes", "4")
    assert args.num_processes == 4
    # Neither MPI nor a single process: a launcher that starts the processes itself.
    assert args.multi_gpu or args.use_deepspeed or args.use_fsdp


def test_sharded_models_are_saved_whole():
    for path in FILES:
        args = launch_arguments(path)
        if args.use_deepspeed and int(args.zero_stage) == 3:
            assert args.zero3_save_16bit_model in (True, "true"), path.name
            assert args.zero3_init_flag in (True, "true"), path.name
        if args.use_fsdp:
            assert (args.fsdp_version, args.fsdp_state_dict_type) == (2, "FULL_STATE_DICT"), path.name


def test_multinode_differs_from_single_node_only_in_machines():
    multinode_keys = {"num_machines", "num_processes", "main_process_ip", "main_process_port"}
    for path in FOLDER.glob("*_multinode.yaml"):
        several = yaml.safe_load(path.read_text())
        one = yaml.safe_load((FOLDER / path.name.replace("_multinode", "")).read_text())
        if "deepspeed_config" in several:
            # The default launcher (pdsh) needs ssh and a hostfile.
            assert several["deepspeed_config"].pop("deepspeed_multinode_launcher") == "standard"
        differing = {key for key in several.keys() | one.keys() if several.get(key) != one.get(key)}
        assert differing == multinode_keys, path.name


def test_ulysses_shares_each_sequence():
    args = launch_arguments(FOLDER / "ulysses.yaml")
    assert args.use_parallelism_config
    assert args.num_processes % args.parallelism_config_sp_size == 0


def test_cpu_hides_gpus():
    # torch and CUDA stop at the first invalid index, so no GPU is visible.
    assert launch_arguments(FOLDER / "cpu.yaml").gpu_ids == "-1,-1"


def test_slurm_script_launches_once_per_node(tmp_path):
    root = FOLDER.parent
    for name, body in {
        # srun starts the task on each of two nodes.
        "srun": 'shift; for node in 0 1; do SLURM_NODEID=$node "$@"; done',
        "scontrol": "printf 'node-a\\nnode-b\\n'",
        "accelerate": "printf '%s|' \"$@\"; echo",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "my recipe.py").touch()
    (tmp_path / "recipe.yaml").touch()
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_ID": "12345",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
    }
    config = str(FOLDER / "zero3_multinode.yaml")
    arguments = ["my recipe.py", "recipe.yaml", config, "--run_name", "two words"]
    script = ["bash", str(root / "accelerate_configs" / "sft.slurm")]
    run = subprocess.run([*script, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    expected = (
        f"launch|--machine_rank|{{}}|--config_file|{config}|--num_machines|2|--num_processes|8|--main_process_ip|node-a|"
        "--main_process_port|32345|--deepspeed_multinode_launcher|standard|"
        "my recipe.py|--config|recipe.yaml|--run_name|two words|"
    )
    assert run.stdout.splitlines()[1:] == [expected.format(0), expected.format(1)]
    short = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert short.returncode == 2
    assert short.stderr.startswith("usage:")
