"""Judges and the backends they ask."""
