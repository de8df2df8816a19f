"""Each function of pyrovae beside what plain Pyro says; what differs comes back in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

import pyrovae as pv
from styles.by_hand import ByHand, Draw, data_sites, uncertainty
from styles.style import Made, Style
from styles.trained import fresh

SIGMAS = 5.0
LEAST = 2e-4  # rounding in single precision, relative


class Asked(NamedTuple):
    """A trained style, plain Pyro's draws of it, and a folder."""

    style: Style
    made: Made
    hand: ByHand
    draws: list[Draw]
    folder: Path

    def ask(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function of pyrovae on the pair and its data."""
        return function(self.made.pair, *self.made.data, **options, **self.style.option)

    @property
    def rows(self) -> Tensor:
        return torch.stack([draw.rows for draw in self.draws])

    @property
    def shared(self) -> Tensor:
        return torch.stack([draw.shared for draw in self.draws])


def far(name: str, found: Any, error: Any, hand: Tensor, hand_error: Any) -> Iterator[str]:
    """In words, where a figure is further from the one by hand than their errors allow."""
    found, hand = torch.as_tensor(found).double(), hand.double()
    if found.shape != hand.shape:
        yield f"{name}: shape {tuple(found.shape)} against {tuple(hand.shape)}"
        return
    error, hand_error = torch.as_tensor(error).double(), torch.as_tensor(hand_error).double()
    slack = SIGMAS * (error.square() + hand_error.square()).sqrt() + LEAST * (1 + hand.abs())
    distance = (found - hand).abs()
    wrong = ~(distance <= slack) & ~(found.isnan() & hand.isnan())
    if bool(wrong.any()):
        place = int(((distance / slack).nan_to_num(1e9) * wrong).argmax())
        one = [part.expand(hand.shape).reshape(-1)[place] for part in (found, hand, slack)]
        yield "{}: {:.5g} against {:.5g} by hand, slack {:.2g}".format(name, *map(float, one))


def log_mean(weights: Tensor) -> tuple[Tensor, Tensor]:
    """log of the mean of weights over the draws, and its error."""
    count = len(weights)
    value = weights.logsumexp(0) - torch.tensor(float(count)).log()
    relative = (weights - value).exp()
    return value, (relative.var(0) / count).sqrt() if count > 1 else torch.zeros_like(value)


def mean(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over the draws, and its error."""
    values = values.double()
    return values.mean(0), (values.var(0) / len(values)).sqrt()


# --- one function each ------------------------------------------------------------------------------------


def elbo(asked: Asked) -> Iterator[str]:
    found = asked.ask(pv.elbo, draws=asked.style.draws)
    by_hand = asked.rows + asked.shared[:, None] / max(asked.rows.shape[1], 1)
    yield from far("elbo", found.value, found.error, *mean(by_hand))


def log_evidence(asked: Asked) -> Iterator[str]:
    found = asked.ask(pv.log_evidence, draws=asked.style.draws)
    yield from far("log_evidence", found.value, found.error, *log_mean(asked.rows))
    yield from _exact(asked, found)


def log_evidence_of_all(asked: Asked) -> Iterator[str]:
    draws = asked.style.draws
    found = asked.ask(pv.log_evidence, draws=draws, joint=True)
    shared = any(float(draw.shared) for draw in asked.draws)
    if asked.rows.shape[1] and not shared:  # the evidences of the rows add up
        value, error = log_mean(asked.rows)
        by_hand = value.sum(), error.square().sum().sqrt()
    else:
        by_hand = log_mean(asked.rows.sum(1) + asked.shared)
    yield from far("log_evidence(joint=True)", found.value, found.error, *by_hand)
    yield from _exact(asked, found)


def _exact(asked: Asked, found: Any) -> Iterator[str]:
    if asked.style.exact is not None:
        with torch.no_grad():
            exact = torch.as_tensor(asked.style.exact(asked.made.pair, asked.made.data))
        if exact.ndim and not found.value.ndim:
            exact = exact.sum()
        if exact.ndim == found.value.ndim:
            yield from far("the evidence in closed form", found.value, found.error, exact, 0.0)


def rate_distortion(asked: Asked) -> Iterator[str]:
    found = asked.ask(pv.rate_distortion, draws=asked.style.draws, batch_size=10_000)
    size = asked.rows.shape[1] or len(asked.made.data[0]) if asked.made.data else 1
    value, error = mean((asked.rows.sum(1) + asked.shared) / size)
    yield from far("rate_distortion", found.elbo, error, value, error)
    if not asked.style.enumerates:
        observed = torch.tensor([_observed(draw.model) / size for draw in asked.draws])
        value, error = mean(-observed)
        yield from far("distortion", found.distortion, error, value, error)


def _observed(model: Any) -> float:
    nodes = [node for node in model.nodes.values() if node["type"] == "sample" and node["is_observed"]]
    return float(sum(node["log_prob"].sum() for node in nodes))


def posterior(asked: Asked) -> Iterator[str]:
    found = asked.ask(pv.posterior, draws=asked.style.draws)
    yield from _moments("posterior", found, _latents(asked))


def _latents(asked: Asked) -> dict[str, Tensor]:
    first = asked.draws[0].model
    names = [n for n, node in first.nodes.items() if _is_latent(node)]
    return {name: _stacked([draw.model.nodes[name] for draw in asked.draws]) for name in names}


def _is_latent(node: Any) -> bool:
    if node["type"] != "sample" or node["is_observed"]:
        return False
    return type(node["fn"]).__name__ not in ("Unit", "_Subsample")


def _stacked(nodes: list[Any]) -> Tensor:
    return torch.stack([torch.as_tensor(node["value"]).double() for node in nodes])


def _moments(title: str, found: dict[str, Any], by_hand: dict[str, Tensor]) -> Iterator[str]:
    if missing := set(by_hand) - set(found):
        yield f"{title} lacks {', '.join(sorted(missing))}"
    for name in set(by_hand) & set(found):
        ours, theirs = (torch.as_tensor(side[name]).double().reshape(len(side[name]), -1) for side in (found, by_hand))
        if ours.shape[1] != theirs.shape[1]:
            yield f"{title} of {name}: {tuple(found[name].shape)} against {tuple(by_hand[name].shape)}"
            continue
        for words, power in (("mean", 1), ("second moment", 2)):
            (one, error), (other, hand_error) = mean(ours**power), mean(theirs**power)
            yield from far(f"{title}: {words} of {name}", one, error, other, hand_error)


def posterior_predictive(asked: Asked) -> Iterator[str]:
    found = asked.ask(pv.posterior_predictive, draws=asked.style.draws)
    with asked.hand.quiet(200):
        drawn = [asked.hand.predicted(draw) for draw in asked.draws]
    by_hand = {whole(name): torch.stack([one[name].double() for one in drawn]) for name in drawn[0]}
    yield from _moments("posterior_predictive", found, by_hand)


def uncertainties(asked: Asked) -> Iterator[str]:
    grid = asked.style.grid
    found = asked.ask(pv.uncertainty, draws=grid)
    for name, (parts, errors) in uncertainty(asked.hand, grid, seed=300).items():
        for kind, value, error in zip(parts._fields, parts, errors, strict=True):
            ours = getattr(found[whole(name)], kind).double().sum()
            alone = kind == "epistemic" and grid[0] == 1  # nothing is shared: there is no such part
            own_error = error * (ours / value).abs().clamp(min=1).nan_to_num(1.0)  # of a variance it grows with it
            yield from far(
                f"{kind} part of {name}", ours, own_error, torch.tensor(torch.nan) if alone else value, error
            )


def save_and_load(asked: Asked) -> Iterator[str]:
    path = asked.folder / "pair.safetensors"
    pv.save(asked.made.pair, path, *asked.made.data)
    before = _weights(asked.style, asked.made)
    kept = pyro.get_param_store().get_state()
    other = fresh(asked.style)
    pv.load(other.pair, path, *other.data)
    after = _weights(asked.style, other)
    pyro.get_param_store().set_state(kept)
    yield from far("the ELBO after load", after, 0.0, before, 0.0)


def _weights(style: Style, made: Made) -> Tensor:
    draws = ByHand(style, made).draws(3)
    return torch.stack([draw.rows.sum() + draw.shared for draw in draws])


def to_arviz(asked: Asked) -> Iterator[str]:
    groups = ["posterior", "log_likelihood", "observed_data"]
    found = asked.ask(pv.to_arviz, draws=asked.style.draws, groups=groups)

    def group(name: str) -> dict[str, Tensor]:
        variables = found[name].data_vars if name in found else {}
        return {key: torch.tensor(value.values.astype(float)) for key, value in variables.items()}

    drawn = {_variable(name): value for name, value in _latents(asked).items()}
    yield from _moments("to_arviz", {name: value[0] for name, value in group("posterior").items()}, drawn)
    names = data_sites(asked.draws[0].model)
    terms = {name: torch.stack([draw.model.nodes[name]["log_prob"] for draw in asked.draws]) for name in names}
    likelihood = {_variable(whole(name)): term for name, term in terms.items()}
    ours = {name: value[0] for name, value in group("log_likelihood").items()}
    yield from _moments("log_likelihood", ours, likelihood)
    for name in names:
        given, other = (_given(draw.model.nodes[name]) for draw in asked.draws[:2])
        if not torch.equal(given.nan_to_num(), other.nan_to_num()):  # computed of latent sites
            if _variable(whole(name)) in group("observed_data"):
                yield f"observed_data holds {name}, which no data are"
            continue
        ours = group("observed_data")[_variable(whole(name))].flatten()
        yield from far(f"observed_data of {name}", ours, 0.0, given, 0.0)


def _variable(name: str) -> str:
    """Of a site in a file, where a stroke would be a folder."""
    return name.replace("/", ".")


def _given(node: Any) -> Tensor:
    """What was observed, nothing behind a mask."""
    value = node["value"].double()
    if not isinstance(node["mask"], Tensor):
        return value.flatten()
    mask = node["mask"].expand(node["fn"].batch_shape).reshape(node["fn"].batch_shape + (1,) * node["fn"].event_dim)
    return value.masked_fill(~mask, torch.nan).flatten()


def whole(name: str) -> str:
    """The name of what is observed in part."""
    return name.removesuffix("_observed")


FIGURES: dict[str, Callable[[Asked], Iterator[str]]] = {
    "elbo": elbo,
    "log_evidence": log_evidence,
    "log_evidence of all": log_evidence_of_all,
    "rate_distortion": rate_distortion,
    "posterior": posterior,
    "posterior_predictive": posterior_predictive,
    "uncertainty": uncertainties,
    "save and load": save_and_load,
    "to_arviz": to_arviz,
}
