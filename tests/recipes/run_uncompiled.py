"""The command as torchrun starts it in the tests of DeepSpeed, without an operator that takes a minute to compile.

torchrun --nproc_per_node 2 tests/recipes/run_uncompiled.py run RECIPE --launch.processes 2 --launch.strategy zero2
"""

from __future__ import annotations

import sys

from recipes.cli import main
from tests.judge_training.train_together import without_compiling

if __name__ == "__main__":
    without_compiling()
    sys.exit(main(sys.argv[1:]))
