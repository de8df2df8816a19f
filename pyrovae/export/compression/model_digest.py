"""A digest of what a pair computes with: by it a file names the pair that it was made with."""

from __future__ import annotations

import hashlib

from pyrovae.data.data_digest import array_digest
from pyrovae.pairs.pair import HasPair, unwrapped
from pyrovae.pairs.structure import Structure


def model_digest(structure: Structure) -> str:
    """Of the names, shapes and values of all parameters and buffers, and of the names of all sites."""
    whole = hashlib.sha256()
    tensors = {**structure.parameters, **structure.buffers()}
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {array_digest(tensor)}\n".encode())
    for site in sorted(structure.sites):
        whole.update(f"{site} {structure.sites[site].role}\n".encode())
    return whole.hexdigest()[:32]


def pair_words(pair: HasPair, structure: Structure) -> str:
    """A pair for people: its kind, its sites, how many parameters it has."""
    inner = unwrapped(pair)
    kind = getattr(inner.model, "__name__", "") if type(inner).__name__ == "Pair" else ""
    count = sum(tensor.numel() for tensor in structure.parameters.values())
    sites = ", ".join(name for name, site in structure.sites.items() if site.role in ("latent", "observed"))
    return f"{type(inner).__name__}{kind and f' of {kind}'} ({sites}; {count:,} parameters)"
