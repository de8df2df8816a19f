"""A page in which a decoder runs: a place in latent space is chosen, and what the model says there is shown."""
