"""The report on a trained pair: one HTML file that needs nothing else."""
