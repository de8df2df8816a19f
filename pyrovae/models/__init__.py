"""Pairs and what they are made of: networks, conditionals, priors, `VAE`, recipes, models of known answers."""
