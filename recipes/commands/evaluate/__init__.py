"""The parts of `autoj evaluate-judge`, one module for each kind of evaluation."""
