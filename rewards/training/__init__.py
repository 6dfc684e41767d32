"""What training a policy and training a judge have in common: settings, a model to train, a run with its result.

It lies in the leaf because `rl` and `judge_training` never import each other. Nothing here knows a loss, a data
set or trl: the trainer and its config class are given by who calls. torch, transformers and peft are imported
late, except in `callbacks`, which is itself imported late.
"""
