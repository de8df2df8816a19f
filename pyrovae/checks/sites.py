"""Clauses about sites, plates and scales: what the two sides must agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from pyrovae.checks.finding import Finding
from pyrovae.checks.signatures import forgotten_words, left_out
from pyrovae.checks.supports import family_of
from pyrovae.checks.traced_pair import TracedPair, listed, nodes, tensors
from pyrovae.errors import argument
from pyrovae.objectives.figures import author_scale
from pyrovae.objectives.hidden_latents import hidden_latents
from pyrovae.pairs.known_support import is_angle, is_real, known_support
from pyrovae.pairs.masks import mask_of, one_sided_words, same_elements
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.structure import Site
from pyrovae.pairs.surplus_densities import surplus_densities
from pyrovae.pairs.trace import plates, samples


def matching_sites(traced: TracedPair) -> Iterator[Finding]:
    """The guide draws the model's unobserved sites, and only those."""
    sites = traced.structure.sites
    drawn = [name for name, _ in samples(traced.traces.guide)]
    missing = [site.name for site in sites.values() if site.role == "unguided"]
    strange = [name for name, node in samples(traced.traces.guide) if _is_strange(sites[name], node)]
    renamed = len(missing) == len(strange) > 0
    for name in missing:
        hint = f"If it is the guide's {strange[missing.index(name)]!r}, give both one name. " if renamed else ""
        hint = forgotten_words(traced.pair.model, traced.args, traced.kwargs) or hint
        yield Finding(
            "site-missing-in-guide",
            "error",
            f"the model draws {name!r}, which the guide does not (the guide draws {listed(drawn)}). {hint}Add "
            f"pyro.sample({name!r}, ...) to the guide, observe it in the model (obs=), or mark it "
            "infer={'enumerate': 'parallel'} if it is discrete.",
            name,
        )
    for name in [] if renamed else strange:
        yield Finding(
            "site-missing-in-model",
            "error",
            f"the guide draws {name!r}, which is no site of the model (its unobserved sites are "
            f"{listed(s.name for s in sites.values() if s.role in ('latent', 'unguided'))}). Rename it, take out its "
            "obs= if it has one, or mark it infer={'is_auxiliary': True} if other sites of the guide are made from it.",
            name,
        )
    surplus = surplus_densities(traced.traces, traced.structure)
    for name in surplus.keys() - set(strange):
        yield Finding("surplus-density", "warning", surplus[name], name)
    yield from _observed_in_guide(traced)


def _is_strange(site: Site, node: Mapping) -> bool:
    return site.role == "auxiliary" and not node["infer"].get("is_auxiliary")


def _observed_in_guide(traced: TracedPair) -> Iterator[Finding]:
    """Sites of the guide that the model observes."""
    sites = traced.structure.sites
    drawn = [name for name, _ in samples(traced.traces.guide)]
    marked = {name for name, node in samples(traced.traces.guide) if node["infer"].get("is_auxiliary")}
    for name in drawn:
        if sites[name].role == "observed" and name in marked:
            yield Finding(
                "observed-in-guide",
                "warning",
                f"{name!r} is observed in the guide, too. That is no part of q and in no figure, and Trace_ELBO makes "
                "its likelihood small; a loss that makes it large is pyro.contrib.cevae.TraceCausalEffect_ELBO.",
                name,
            )
        elif sites[name].role == "observed":
            yield Finding(
                "site-missing-in-model",
                "error",
                f"{name!r} is drawn in the guide and observed in the model: an observed site has no posterior. "
                "Take it out of the guide, or drop obs= in the model.",
                name,
            )


def something_observed(traced: TracedPair) -> Iterator[Finding]:
    """The model observes something, or has a factor."""
    sites = traced.structure.sites
    if {site.role for site in sites.values()} & {"observed", "factor"}:
        return
    name, argument = _forgotten(traced)
    forgotten = left_out(traced.pair.model, traced.args, traced.kwargs)
    argument = forgotten[0] if forgotten else argument
    hint = " " + forgotten_words(traced.pair.model, traced.args, traced.kwargs)
    yield Finding(
        "nothing-observed",
        "error",
        "the model observes nothing: no pyro.sample has obs= (and there is no pyro.factor), so there is nothing to "
        f"fit. Pass the data to the likelihood: pyro.sample({name!r}, ..., obs={argument}).{hint}".rstrip(),
        name,
    )


def _forgotten(traced: TracedPair) -> tuple[str, str]:
    """The site that probably lacks its obs=, and the argument that it should get."""
    unguided = traced.structure.named("unguided")
    for name in unguided:
        value = nodes(traced.traces.model)[name]["value"]
        for key, leaf in tensors(traced):
            if isinstance(value, torch.Tensor) and value.shape == leaf.shape:
                return name, traced.names[key]
    drawn = unguided or traced.structure.named("latent") or ["x"]
    return drawn[-1], next((traced.names[key] for key, _ in tensors(traced)), "x")


# --- plates and scales ----------------------------------------------------------------------------------
def agreeing_plates(traced: TracedPair) -> Iterator[Finding]:
    """A latent site stands in the same plates on both sides."""
    for name, node, other in traced.shared():
        if node["infer"].get("enumerate"):
            continue
        mine, theirs = _plates(node), _plates(other)
        if _sized(mine, theirs) == _sized(theirs, mine):
            continue
        only_names = sorted(mine.values()) == sorted(theirs.values())
        sampled = any(size != full for _, size, full in mine.values())
        yield Finding(
            "plate-mismatch",
            "warning" if only_names and not sampled else "error",
            f"{name!r} stands in {_words(mine)} in the guide and in {_words(theirs)} in the model. Use plates of the "
            "same name, dim, size and subsample_size on both sides"
            f"{': under two names each side draws rows of its own' if only_names and sampled else ''}.",
            name,
        )


def _plates(node: Mapping) -> dict[str, tuple[int, int, int]]:
    """Plate -> dim, rows in it, full size."""
    return {
        frame.name: (frame.dim, int(frame.size), int(frame.full_size or frame.size))
        for frame in node["cond_indep_stack"]
        if frame.vectorized
    }


def _sized(found: Mapping, other: Mapping) -> dict[str, tuple[int, int, int]]:
    """A plate without a size, as EasyGuide makes them, is as long as the other side's, and scales nothing."""
    return {
        name: other[name]
        if sizes[1] < 0 and name in other and other[name][::2] == (sizes[0], other[name][1])
        else sizes
        for name, sizes in found.items()
    }


def _words(found: Mapping[str, tuple[int, int, int]]) -> str:
    shown = [f"plate {name!r} (dim {dim}, {size} of {full} rows)" for name, (dim, size, full) in sorted(found.items())]
    return " and ".join(shown) or "no plate"


def plate_knows_the_data_set(traced: TracedPair) -> Iterator[Finding]:
    """Global sites count once for the whole data set, so the data plate must know how many data there are."""
    structure = traced.structure
    shared = [s.name for s in structure.sites.values() if s.role in ("latent", "enumerated") and not s.local]
    if not shared or traced.dataset_size is None:
        return
    if structure.data_plate is None:
        yield from _a_site_for_each_row(traced, shared)
        return
    rows, size = plates(traced.traces)[structure.data_plate]
    if size in (traced.dataset_size, -1) or _scaled_by_hand(traced, shared, rows):
        return
    consequence = (
        "their KL would count whole in every batch" if size == rows else f"the data would count as {size} rows"
    )
    yield Finding(
        "plate-scale",
        "error",
        f"the data plate {structure.data_plate!r} has size {size}, but the data set has {traced.dataset_size} rows, "
        f"and there are global sites ({listed(shared)}): {consequence}. Write pyro.plate({structure.data_plate!r}, "
        f"size={traced.dataset_size}, subsample_size=len(x)) in model and guide"
        + (f", or train on all rows at once: {argument('batch_size', traced.dataset_size)}." if size == rows else "."),
        structure.data_plate,
    )


def _a_site_for_each_row(traced: TracedPair, shared: list[str]) -> Iterator[Finding]:
    """The same where no plate scales: a loop over rows makes an observed site of each."""
    other = traced.other
    if other is None or traced.rows in (None, traced.dataset_size):
        return
    found, fewer = (
        [name for name, node in samples(trace) if node["is_observed"]] for trace in (traced.traces.model, other.model)
    )
    mine = [name for name in found if name not in fewer]
    if mine and len(found) - len(fewer) == 1 and not _scaled_by_hand(traced, shared, traced.rows or 1, mine):
        yield Finding(
            "plate-scale",
            "error",
            f"each row is a site of its own ({listed([*found[:2], mine[-1]])}), and {traced.rows} of "
            f"{traced.dataset_size} rows are a batch, so that the KL of the global sites ({listed(shared)}) would "
            f"count whole in each. Train on all rows at once, {argument('batch_size', traced.dataset_size)}, or write "
            f"one site inside `with pyro.plate('data', size={traced.dataset_size}, subsample_size=len(x)):`.",
            mine[-1],
        )


def _scaled_by_hand(traced: TracedPair, shared: list[str], rows: int, observed: Sequence[str] = ()) -> bool:
    """Whether an observed site counts N / batch times as much as the global sites: `poutine.scale` does it too."""
    found = nodes(traced.traces.model)
    wanted = torch.as_tensor((traced.dataset_size or rows) / rows, dtype=torch.float64)
    base, *local = (
        torch.as_tensor(found[name]["scale"], dtype=torch.float64).cpu()
        for name in (shared[0], *(observed or traced.structure.named("observed", local=True)))
    )
    return any(torch.allclose(scale / base, wanted, rtol=1e-3) for scale in local)


def equal_scales(traced: TracedPair) -> Iterator[Finding]:
    """A latent site is scaled alike on both sides."""
    for name, node, other in traced.shared():
        mine, theirs = (torch.as_tensor(n["scale"], dtype=torch.float64).cpu() for n in (node, other))
        if not torch.allclose(*torch.broadcast_tensors(mine, theirs)):
            yield Finding(
                "one-sided-scale",
                "error",
                f"the log-probability of {name!r} is scaled by {_number(mine)} in the guide and {_number(theirs)} in "
                "the model: that is not a weighted KL, and TraceMeanField_ELBO would take the guide's scale alone. "
                "Scale both sides alike, or leave scales out and pass temper= to fit.",
                name,
            )


def equal_masks(traced: TracedPair) -> Iterator[Finding]:
    """A latent site is masked alike on both sides."""
    for name, node, other in traced.shared():
        if not same_elements(mask_of(node), mask_of(other)):
            yield Finding("one-sided-mask", "error", one_sided_words(name), name)


def nothing_hidden_feeds_what_counts(traced: TracedPair) -> Iterator[Finding]:
    """What a mask hides of a latent site moves nothing that counts."""
    for name, words in hidden_latents(traced.pair, traced.args, traced.kwargs, traced.traces).items():
        yield Finding("hidden-latent", "warning", words, name)


def angles_within_a_round(traced: TracedPair) -> Iterator[Finding]:
    """Where the model draws an angle, the guide stays within one round."""
    for name, node, other in traced.shared():
        fn = node["fn"]
        if is_angle(other["fn"]) and not (is_angle(fn) or is_delta(fn)) and is_real(known_support(fn)):
            yield Finding(
                "angle",
                "error",
                f"the model draws {name!r} from a {family_of(other['fn'])}, whose density repeats itself round after "
                "round, and the guide's distribution has all real numbers: the wider it is, the more rounds it counts, "
                "so that the ELBO grows without end, and is no bound. Draw an angle in the guide, too (dist.VonMises), "
                "or map its values into one round: dist.TransformedDistribution(..., biject_to(constraints.interval("
                "-pi, pi))).",
                name,
            )


def author_scales(traced: TracedPair) -> Iterator[Finding]:
    """Scales of the author are in the loss, and in no figure."""
    wanted = (traced.dataset_size or 0) / (traced.rows or 1)  # what a subsample by hand has
    scales = {name: torch.as_tensor(author_scale(node), dtype=torch.float64) for _, name, node in traced.sites()}
    scales = {name: scale for name, scale in scales.items() if not _is(scale, 1.0) and not _is(scale, wanted)}
    if scales:
        name, scale = next(iter(scales.items()))
        number = "row by row" if scale.numel() > 1 else f"by {_number(scale)}"
        yield Finding(
            "author-scale",
            "warning",
            f"the log-probability of {listed(scales)} is scaled {number} (poutine.scale). That weights the loss; ELBO, "
            "rate, distortion, evidence and importance weights are those of the model without it. A scale that stands "
            "for a subsample belongs into the plate: pyro.plate(name, size=N, subsample_size=len(x)).",
            name,
        )


def _is(scale: torch.Tensor, number: float) -> bool:
    return scale.numel() == 1 and abs(float(scale) - number) <= 1e-3 * number


def _number(value: torch.Tensor) -> str:
    return f"{value.flatten()[0].item():g}"
