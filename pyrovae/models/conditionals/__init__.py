"""Modules whose `forward` returns a distribution: nets are arguments, shapes follow one rule.

The rule: a family that takes k numbers per element wants a network whose output's *first* event dim is k
times the event's, (2 * 8) for `DiagNormal` on 8 dims, (2 * 3, 32, 32) for `Normal` on 3 x 32 x 32 images. The
batch shape of the distribution is the leading dims of the input, the rest is event.
"""
