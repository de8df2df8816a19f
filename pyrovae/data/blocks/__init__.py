"""Data that stay on disk: read in blocks of neighbouring rows, shuffled by blocks and within a window of them."""
