"""Measurements, as ratios against a peer or against what the README promises, each printed with its bound."""
