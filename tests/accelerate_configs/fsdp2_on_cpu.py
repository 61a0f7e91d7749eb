"""Run a script under FSDP2 on CPU processes, for tests on machines without a GPU.

    accelerate launch --config_file accelerate_configs/fsdp2.yaml --num_processes 2 \
        tests/accelerate_configs/fsdp2_on_cpu.py SCRIPT [--key value ...]

Accelerate considers FSDP only for processes with an accelerator; CPU processes silently get DDP instead, whatever the
configuration says. Here it is told that it has accelerators, whose device is `cpu` and whose backend is gloo;
everything after that is the ordinary FSDP2 path. Check `accelerator.distributed_type == "FSDP"` in what you run.
"""

import os
import runpy
import sys

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch.distributed
from accelerate import DistributedType, PartialState


def prepare_backend(self: PartialState, *args: object, **kwargs: object) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState._prepare_backend = prepare_backend
    # With `use_cpu: true` accelerate leaves this to its MULTI_CPU branch, which is not taken now.
    torch.distributed.init_process_group("gloo")
    sys.argv = sys.argv[1:]
    # As python does it: the script's folder comes first on the path.
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
