"""What was drawn of a table, as a frame."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.pairs.with_schema import schema_of
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import given_sites, observed_wholes, whole_of


def framed(
    sampler: Sampler, found: dict[str, torch.Tensor], *, like: Any = None, form: Any = None, mean: bool = False
) -> Any:
    """Draws of sites, `{site: (rows, *event)}`, with a frame in the place of the table's rows.

    The frame alone, where the table is all that the pair observes.

    Args:
        sampler: of a pair that carries a schema.
        found: what was drawn, one or several sets of it.
        like: a frame of the same rows.
        form: a frame of the library that is wanted.
        mean: whether these are means, of which that of a binary column is no class.
    """
    schema, site = schema_of(sampler.use.pair), framed_site(sampler)
    if schema is None or site not in found:
        return found
    sets = found[site] if found[site].ndim == 3 else found[site][None]
    frames = [schema.decode(rows, like=like, form=form, nearest=mean) for rows in sets]
    frame = frames if found[site].ndim == 3 else frames[0]
    return frame if observed_wholes(sampler.structure) == [site] else {**found, site: frame}


def framed_site(sampler: Sampler, key: int | str | None = None) -> str | None:
    """The observed site that is the rows of the table; None where none is, or several could be.

    Args:
        sampler: of a pair that carries a schema.
        key: the argument that the rows are.
    """
    schema, run = schema_of(sampler.use.pair), sampler.use.posterior_run.model
    first = sampler.use.first(None)
    if schema is None:
        return None
    shape, leaf = (first.rows, len(schema.columns)), None if key is None else first.leaves[key]
    values: dict[str, Any] = {site: run.nodes[site]["value"] for site in given_sites(sampler.structure)}
    near = [site for site, value in values.items() if tuple(value.shape) == shape]
    if len(near) > 1 and leaf is not None:
        near = [site for site in near if same_numbers(values[site], leaf, rtol=1e-5, atol=1e-8)]
    return whole_of(sampler.structure, near[0]) if len(near) == 1 else None
