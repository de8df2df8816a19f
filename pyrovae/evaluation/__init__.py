"""Figures of a pair on data, of each datum and of the whole; a guide held against NUTS."""
