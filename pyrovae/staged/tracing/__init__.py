"""From a training pass to a graph of tensor operations, and what was read on the way."""
