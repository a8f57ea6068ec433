"""Learned hashing in PyTorch: losses, heads, one training loop. What was learned is kept as plain weights.

The hashers themselves are `lshcore.hashers.NAME`; torch is imported by `fit` alone.
"""
