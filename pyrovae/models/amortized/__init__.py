"""A guide that is made from a model, and amortised: networks give each site's parameters from the data."""
