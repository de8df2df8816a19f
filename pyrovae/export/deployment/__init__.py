"""Parts of a pair as graphs of tensor operations, for programs that have neither Pyro nor this package."""
