"""A traced graph as one that is quicker and says the same."""
