"""Judgments and how they become rewards: the leaf package of autoj."""
