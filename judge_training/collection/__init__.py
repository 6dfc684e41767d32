"""Collecting judgments from a teacher model, as judge-training examples (AUTO-J, arXiv 2310.05470, section 3)."""
