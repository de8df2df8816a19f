"""Staged training: pair, objective, optimiser and tempering as one graph, traced once and compiled."""
