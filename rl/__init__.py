"""Jobs that use judge rewards: sampling, Best-of-N, fine-tuning, DPO, evaluation, report, tracking."""
