"""Sites of a guide whose density the model has nothing to set against."""

from __future__ import annotations

from pyrovae.pairs.points import is_delta
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, samples


def surplus_densities(run: Traces, structure: Structure) -> dict[str, str]:
    """What is wrong with each such site, in words: log q counts more variables than log p, so that neither is a bound.

    A site behind a latent one that is made of it (a Delta, as in autoguides) is none of them: its density is that of
    the latent site in other coordinates.

    Args:
        run: a run of the pair.
        structure: the pair's.
    """
    guide = dict(samples(run.guide))
    made = {name for name in structure.named("latent") if name in guide and is_delta(guide[name]["fn"])}
    return {
        name: _words(name)
        for name, served in structure.auxiliaries.items()
        if name in guide
        and not (guide[name]["is_observed"] or is_delta(guide[name]["fn"]))
        and not made & set(served or made)
    }


def _words(name: str) -> str:
    return (
        f"the guide draws {name!r}, which the model does not, and of which no site of the model is a function (a "
        "Delta): log q then has a density more than log p, whose difference is no weight, and an ELBO or an evidence "
        "of it may lie above the true one. Draw it in the model, too, given the latent sites; or make it no site "
        "(torch.randn_like in place of pyro.sample); or leave it out."
    )
