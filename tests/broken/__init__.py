"""The registry's counterpart: pairs that are wrong in one way each, for every clause of `check_pair`.

The comment beside each says what Pyro 1.9.2 itself does in one `SVI.step` with `Trace_ELBO`.
"""

from broken import parameters, plates, programs, shapes, sites, values
from broken.entries import broken_pairs, sound_model, vae

__all__ = ["broken_pairs", "parameters", "plates", "programs", "shapes", "sites", "sound_model", "vae", "values"]
