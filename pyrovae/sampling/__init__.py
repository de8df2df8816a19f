"""Guide and replayed model, drawn together: the one sampler that prediction, evaluation and export read."""
