"""Producing and measuring a generative judge."""
