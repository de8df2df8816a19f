"""Training of any pair: `steps`, one optimiser step after another, and `fit`, which runs it to its end."""
