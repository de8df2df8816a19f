"""Priors: conditionals of nothing."""
