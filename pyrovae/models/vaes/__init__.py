"""Pairs that are modules: `VAE`, and those with levels, classes, labels, conditions."""
