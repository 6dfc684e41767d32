"""The command as torchrun starts it in the tests of sharding: DeepSpeed's without an operator that takes a minute to
compile, and FSDP2's on CPUs.

torchrun --nproc_per_node 2 tests/recipes/run_uncompiled.py run RECIPE --launch.processes 2 --launch.strategy zero2
"""

from __future__ import annotations

import sys

from recipes.cli import main
from tests.judge_training.train_together import ready_for

if __name__ == "__main__":
    ready_for(sys.argv[sys.argv.index("--launch.strategy") + 1])
    sys.exit(main(sys.argv[1:]))
