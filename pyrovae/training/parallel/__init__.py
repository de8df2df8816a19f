"""Data-parallel training: several processes under torchrun, each with its share of every batch."""
