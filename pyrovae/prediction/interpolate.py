"""What lies between two data."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.data.rows_of_frames import frames_among
from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import drawn
from pyrovae.prediction.encode import encodings
from pyrovae.prediction.framed import framed
from pyrovae.prediction.generate import only
from pyrovae.prediction.output import Output
from pyrovae.prediction.variations import VariationSpread
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_wholes


@in_turn
def interpolate(pair: HasPair, /, *data: Any, points: int = 7, data_plate: str | None = None, **named: Any) -> Any:
    r"""Data decoded from the straight way between the encodings of two.

    \[ \mathbb E[x \mid z_k], \qquad z_k = m_1 + \frac{k}{K - 1} (m_2 - m_1), \quad k = 0, \dots, K - 1 \]

    with m the means of q(z | x). Where the two rows have covariates, the first one's count.

    Args:
        pair: any pair with continuous latent sites of each row.
        *data: the arguments of model and guide, of two rows.
        points: K, the two ends among them.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (points, *event)}`; of a pair that carries a schema a frame, or lines of text.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.interpolate(vae, torch.tensor([[0.0] * 5, [9.0] * 5]), points=4)["x"].shape
        torch.Size([4, 5])
    """
    points = check_count("points", points, least=2, where="interpolate: ")
    sampler = Sampler.of(pair, data, named, seed=0, data_plate=data_plate)
    if sampler.rows != 2:
        raise DataError(f"interpolate takes two rows, from which and to which; there are {sampler.rows}.")
    found = encodings(sampler, classes=False)
    if not found:
        raise ArgumentError("interpolate: the pair has no continuous latent site of each row to go through.")
    ends = {site: one.mean.reshape(2, -1) for site, one in found.items()}
    local = frozenset(one.name for one in sampler.structure.sites.values() if one.local)
    moved = VariationSpread(pair, local, 0.0)
    own = Sampler.of(moved, data, named, seed=0, data_plate=data_plate)  # one look at the pair for all points
    sites, decoded = observed_wholes(own.structure), list[dict[str, torch.Tensor]]()
    for share in torch.linspace(0, 1, points).tolist():
        moved.held.update({site: _numbered(torch.lerp(end[0], end[1], share)) for site, end in ends.items()})
        drawn_here = only(drawn(own, 1, "posterior", sites, mean=True, output=Output()), own)
        decoded.append({x: value[:1] for x, value in drawn_here.items()})
    whole = {x: torch.cat([one[x] for one in decoded]) for x in decoded[0]}
    given = [*frames_among(data).values(), *frames_among(named).values()]
    return framed(sampler, whole, form=given[0], mean=True) if len(given) == 1 else whole


def _numbered(place: torch.Tensor) -> dict[int, float]:
    return dict(enumerate(place.tolist()))
