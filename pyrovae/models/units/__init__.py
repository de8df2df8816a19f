"""What recipes put around networks and likelihoods that work in units of their own: pixels, columns, counts."""
