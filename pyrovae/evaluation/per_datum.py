"""Samplers for figures that need importance weights."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.checks.signatures import forgotten_words
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.evaluation.hidden_draws import refuse_hidden_draws
from pyrovae.evaluation.tied_rows import rows_are_tied
from pyrovae.pairs.improper import improper_sites
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.trace import samples
from pyrovae.sampling.author_weights import check_sums_over_rows, tell_of_weights, weights_in
from pyrovae.sampling.capabilities import refuse_shapes
from pyrovae.sampling.point_sites import point_sites
from pyrovae.sampling.programs import WholePlate, run_once
from pyrovae.sampling.sampler import Sampler, shared_last_words
from pyrovae.sampling.sites_without_weights import why_no_weights
from pyrovae.sampling.use import Use


def sampler_of(pair: HasPair, data: tuple, named: Any, seed: int | None, data_plate: str | None) -> Sampler:
    """A sampler of a pair whose draws have weights, but for those of sites that all data share."""
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    check_local_densities(sampler.use)
    return sampler


def of_the_whole(pair: HasPair, data: tuple, named: Any, seed: int | None, data_plate: str | None) -> Sampler:
    """A sampler of a pair whose draws have weights, those of sites that all data share included."""
    sampler = sampler_of(pair, data, named, seed, data_plate)
    check_common_densities(sampler.use)
    _check_whole_plates(sampler)
    refuse_hidden_draws(sampler.use)
    return sampler


def check_local_densities(use: Use) -> None:
    """Refuse a guide that has no density for what belongs to single data; say which weights no figure has."""
    forgotten = use.structure.named("unguided")
    if forgotten:
        first = use.first(None)
        given = forgotten_words(use.pair.model, first.args, first.kwargs)
        raise PairError(
            f"{forgotten[0]!r} is drawn by the model alone, so that draws have no weights. {given}Draw it in the "
            "guide, too, or mark it with pyro.infer.config_enumerate to have it summed out."
        )
    if words := why_no_weights(use):
        raise PairError(words)
    run = use.posterior_run
    _check_draws_differ(use)
    refuse_shapes(run, use.first(None).rows, use.structure.data_plate)
    if points := point_sites(use, run).local:
        raise PairError(
            f"the guide puts {points[0]!r} at one point for each datum (a Delta, as for a MAP estimate of codes). A "
            "point has no density, so that there is no rate, no ELBO and no importance weight. Predictions, encode "
            "and log_likelihood at that point stand, and ais(..., start='prior') needs no guide; for the rest, draw "
            "the site from a distribution."
        )
    tell_of_weights(use, weights_in(run))


def _check_draws_differ(use: Use) -> None:
    """Refuse a pair that seeds the generator itself: all of its draws are one, whose weight has no error."""
    batch, ends = use.first(None), []
    pair = WholePlate(use.pair, use.structure.data_plate, follows=False)
    for seed in (1, 2):
        with use.quietly(seed):
            pair.turn_to(batch)
            run_once(pair, batch, use.structure, "posterior")
            ends.append(torch.get_rng_state())
    if torch.equal(*ends):
        raise PairError(
            "the pair sets the seed of all random numbers at every run, so that all draws are the same one, and its "
            "weight would pass for the mean of many. Take the seed out of model and guide (pyro.set_rng_seed, "
            f"torch.manual_seed); every function here takes {argument('seed')}."
        )


def check_common_densities(use: Use, *, sums: bool = True) -> None:
    """Refuse a guide that has no density for what all data share; for sums over rows, rows that may count twice."""
    run = use.posterior_run
    if sums:
        check_sums_over_rows(use, weights_in(run))
    if points := point_sites(use, run).common:
        raise PairError(
            f"the guide puts {points[0]!r}, which all data share, at one point (a Delta, as AutoDelta does). A point "
            "has no density, so that there is no rate, no ELBO and no evidence of the whole. log_evidence and psis of "
            "each datum, given that point, stand, and so do predictions and log_likelihood; for the rest, draw the "
            "site from a distribution (AutoNormal)."
        )


def of_each_datum(pair: HasPair, data: tuple, named: Any, seed: int | None, data_plate: str | None) -> Sampler:
    """The same, of a pair whose data have weights of their own."""
    sampler = sampler_of(pair, data, named, seed, data_plate)
    check_each_datum(sampler)
    return sampler


def _check_whole_plates(sampler: Sampler) -> None:
    """Refuse a subsample beside the rows: scaled, it has the whole's log-probability on average, and not its weight."""
    for _, node in samples(sampler.use.posterior_run.model):
        for frame in node["cond_indep_stack"]:
            if frame.name != sampler.structure.data_plate and 0 < frame.size < (frame.full_size or frame.size):
                raise PairError(
                    f"each run draws {frame.size} of the {frame.full_size} places of the plate {frame.name!r}, and "
                    "the weights of a part are not those of the whole: an evidence would be too high. Ask a pair whose "
                    "plate holds all of them, without subsample_size; elbo and rate_distortion stand."
                )


def check_each_datum(sampler: Sampler) -> None:
    """Refuse a pair whose rows have no evidence of their own. `log_evidence` has one of the whole."""
    _check_whole_plates(sampler)
    refuse_hidden_draws(sampler.use)
    check_plate(sampler)
    if sampler.found.shared_last:
        raise PairError(shared_last_words(sampler.found.shared_last))
    if rows_are_tied(sampler):
        raise PairError(
            "an observation belongs to several rows together (a site outside the data plate that looks at what is "
            "drawn inside, or rows that look at each other), so that no row has an evidence of its own. Ask for "
            "that of the whole: log_evidence(..., joint=True)."
        )


def check_proper(sampler: Sampler, *, joint: bool = False) -> Sampler:
    """Refuse evidences of a model whose prior is no density, and give the sampler back.

    Given what all data share, that prior enters no evidence of a row.
    """
    use = sampler.use
    names = [name for name in improper_sites(use.posterior_run) if joint or use.structure.sites[name].local]
    if names:
        raise PairError(
            f"the prior of {names[0]!r} is improper (ImproperUniform), known up to a constant, and so is the evidence: "
            "any number would be as right. psis and inference_gap, in which the constant cancels, stand; for an "
            "evidence give the site a wide prior that is a density: dist.Normal(0.0, 100.0)."
        )
    return sampler


def check_plate(sampler: Sampler) -> None:
    """Refuse a pair that has no figure for each datum."""
    if sampler.structure.data_plate is None:
        raise ArgumentError(
            "no plate of the pair holds the data, so that there is no figure for each datum. Put what belongs to "
            "single data into `with pyro.plate('data', len(x))`, or ask "
            "for the evidence of the whole: log_evidence(..., joint=True)."
        )
    if summed := sampler.structure.named("enumerated", local=False):
        raise PairError(
            f"the model sums out {summed[0]!r}, which all data share, so that no datum has a figure of its own. Draw "
            "it in the guide, put it inside the data plate, or ask "
            "for the evidence of the whole: log_evidence(..., joint=True)."
        )
    sites = sampler.structure.sites
    for auxiliary, served in sampler.structure.auxiliaries.items():
        rows = [name for name in served if sites[name].local]
        if rows and not sites[auxiliary].local:
            raise PairError(
                f"the guide draws {rows[0]!r} of all rows as one vector, {auxiliary!r}, whose density has no part for "
                "each row, so that no datum has a figure of its own. Take a guide with a density for each row "
                "(AutoNormal, an amortised one), or ask for the evidence of the whole: log_evidence(..., joint=True)."
            )
