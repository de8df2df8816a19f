"""What a pair says, as ArviZ takes it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

import pyrovae
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.errors import ArgumentError
from pyrovae.evaluation.arviz_versions import from_groups
from pyrovae.export.group_contents import GROUPS, GroupContents
from pyrovae.export.group_targets import GroupsInMemory, GroupsOnDisk, skeletons
from pyrovae.export.variable_names import VariableNames
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, unwrapped
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.store import checked_path, new_store, read_groups
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import arguments


@in_turn
def to_arviz(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 500,
    groups: Collection[str] | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    seed: int | None = 0,
    out: str | os.PathLike | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    r"""Draw from guide and model, and hand everything to ArviZ.

    \[ w \sim q(w), \quad z_n \sim q(z_n \mid x_n, w), \qquad
    \text{elbo}_n = \log \frac{p(x_n, z_n \mid w)}{q(z_n \mid x_n, w)} + \frac 1 N \log \frac{p(w)}{q(w)} \]

    | group | holds | dims |
    |---|---|---|
    | `posterior` | sites that are not observed, from the guide; deterministic sites | chain, draw, plates, event |
    | `posterior_predictive` | observed sites drawn anew at those values | chain, draw, plates, event |
    | `prior`, `prior_predictive` | the same from the model alone | chain, draw, plates, event |
    | `log_likelihood` | log p of each observation, given its own latents | chain, draw, plates |
    | `log_prior` | log p of each latent site, given what the model draws it from | chain, draw, plates |
    | `sample_stats` | `log_p`, `log_q`, `log_weight` of each draw of everything | chain, draw |
    | | `elbo` of each datum; where sites are global, `local_log_weight`, its first term | chain, draw, rows |
    | `observed_data` | what the observed sites hold, NaN where a mask leaves it out | plates, event |
    | `constant_data` | arguments that are not observed; `x_mask` where a mask says what of `x` counts | rows, ... |

    Sites that the model enumerates are drawn in `posterior`, and summed out in `sample_stats`. A guide that stands at
    a point (AutoDelta) has no density there, and `sample_stats` nothing that needs one.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many; they are independent, and stand in one chain.
        groups: which groups; left out, all.
        coords: labels by the name of a dim, or `(dim, labels)` by a name of their own. A plate is a dim of its name
            (with `_plate` behind it where a variable has that name).
        dims: by site (or argument), names for its axes that are no plates; left out, `site_dim_0` and so on.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        out: a new file ending in .nc (netCDF) or a folder ending in .zarr. The draws are written there as they are
            made and need no memory; what is returned reads them from there.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        An `arviz.InferenceData` where ArviZ is 0.x, an `xarray.DataTree` where it is 1.x.

    Raises:
        ArgumentError: draws, groups, dims or coords that cannot be, or more than memory holds.
        FileError: `out` exists, or cannot be written.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> found = pv.to_arviz(vae, torch.ones(3, 5), draws=10, dims={"x": ["gene"]}, coords={"gene": list("abcde")})
        >>> found["posterior_predictive"]["x"].sizes
        Frozen({'chain': 1, 'draw': 10, 'data': 3, 'gene': 5})
    """
    draws = check_count("draws", draws)
    chosen = _checked_groups(groups)
    if out is not None:
        checked_path(out)
    sampler = Sampler.of(pair, *_at_hand(pair, data, named), seed=seed, data_plate=data_plate)
    contents = GroupContents(sampler, chosen)
    with torch.no_grad():
        assert sampler.rows is not None, "the data are at hand"
        names = VariableNames(
            contents.first_parts(),
            rows=sampler.rows,
            draws=draws,
            together=sampler.tile_draws,
            dims=dims,
            coords=coords,
        )
        attributes = {**_attributes(pair), "seed": sampler.seed, "draws": draws}
        if out is None:
            memory = GroupsInMemory(names, attributes)
            for part in contents.parts(draws):
                memory.put(part)
            return from_groups(memory.groups(), attributes)
        import xarray

        root = xarray.Dataset(attrs=attributes)
        with new_store(out, {"": root, **skeletons(names, attributes)}) as store:
            disk = GroupsOnDisk(names, store)
            for part in contents.parts(draws):
                disk.put(part)
        return read(out)


def read(path: str | os.PathLike) -> Any:
    """What `to_arviz` wrote, as ArviZ takes it; arrays are read when they are used."""
    found = read_groups(path)
    known = {group: found[group] for group in GROUPS if group in found}
    return from_groups(known, found[""].attrs)


def _checked_groups(groups: Collection[str] | None) -> tuple[str, ...]:
    asked = GROUPS if groups is None else (groups,) if isinstance(groups, str) else tuple(groups)
    if foreign := [group for group in asked if group not in GROUPS]:
        raise ArgumentError(f"groups={foreign!r}: there is no such group. The groups: {', '.join(GROUPS)}.")
    if not asked:
        raise ArgumentError(f"groups is empty; leave it out, or name some of {', '.join(GROUPS)}.")
    return asked


def _at_hand(pair: HasPair, data: tuple, named: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The data as they were given; what a loader yields is read once and kept, so that every pass sees it alike."""
    given = arguments(pair, data, named)
    batches = as_batches(given[0] if isinstance(given, tuple) and len(given) == 1 else given)
    if batches.random_access:
        return data, dict(named)
    parts = [batch.leaves for batch in batches.in_order()]
    whole = Batch.of({key: torch.cat([part[key] for part in parts]) for key in parts[0]})
    return whole.args, whole.kwargs


def _attributes(pair: HasPair) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("arviz", "torch")}
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "creation_library": "pyrovae",
        "creation_library_version": pyrovae.__version__,
        "creation_library_language": "Python",
        "inference_library": "pyro-ppl",
        "inference_library_version": importlib.metadata.version("pyro-ppl"),
        **{f"{name}_version": version for name, version in versions.items()},
        "pair": _called(pair),
    }


def _called(pair: HasPair) -> str:
    """The pair's class, or its two functions."""
    own = unwrapped(pair)
    if not isinstance(own, pyrovae.Pair):
        return f"{type(own).__module__}.{type(own).__qualname__}"
    sides = [getattr(side, "__qualname__", type(side).__qualname__) for side in (own.model, own.guide)]
    return f"model {sides[0]}, guide {sides[1]}"
