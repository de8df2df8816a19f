"""What is wrong with a pair, in words, and how to mend it."""

from __future__ import annotations

import inspect as introspection
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyro
import torch
from pyro.poutine.util import site_is_subsample
from torch import nn

from pyrovae.errors import DataError, PairError, PyrovaeWarning
from pyrovae.isolation import isolated
from pyrovae.pairs import (
    HasPair,
    Structure,
    Traces,
    batch_rows,
    bound_modules,
    find_data_plate,
    plates,
    roots,
    samples,
    structure_of,
)
from pyrovae.supports import outside_support, validates
from pyrovae.troubles import explain


class Finding(NamedTuple):
    """One thing that is wrong, or probably wrong, with a pair."""

    clause: str
    severity: str  # "error" or "warning"
    message: str


class _Look(NamedTuple):
    """What the clauses look at: one run of the pair in eval mode, and how to run it again."""

    pair: HasPair
    args: tuple
    kwargs: Mapping[str, Any]
    traces: Traces
    structure: Structure
    modules: list[nn.Module]
    rows: int | None
    dataset_size: int | None


Clause = Callable[[_Look], Iterator[Finding]]


def check_pair(
    pair: HasPair, *batch: Any, dataset_size: int | None = None, data_plate: str | None = None, **named: Any
) -> tuple[Finding, ...]:
    """Run model and guide on one batch and say in words what is wrong, and how to mend it.

    Random numbers, parameter store and modules are as before when it returns.

    Args:
        pair: any pair.
        *batch: the arguments of model and guide, a few rows of each.
        dataset_size: the number of rows of the whole data set; left out, the batch is taken to be all of it.
        data_plate: the plate that holds the data, where several plates follow the length of the batch.
        **named: keyword arguments of model and guide.

    Returns:
        What is probably wrong; each is also issued as a `PyrovaeWarning`.

    Raises:
        PairError: at least one finding is an error; the message holds all of them.
        DataError: the only errors are of the data.

    Example:
        >>> import pyro, pyro.distributions as dist, pyrovae as pv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0, 1))
        ...         pyro.sample("x", dist.Normal(z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("zz", dist.Normal(x / 2, 0.7))
        >>> pv.check_pair(pv.Pair(model, guide), torch.zeros(8))
        Traceback (most recent call last):
            ...
        pyrovae.errors.PairError: ...the model draws 'z', which the guide does not...
    """
    found = findings(pair, batch, named, dataset_size=dataset_size, data_plate=data_plate)
    report(found)
    return found


def report(found: tuple[Finding, ...]) -> None:
    """Raise the errors among findings together, or issue the warnings one by one."""
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        kind = DataError if all(finding.clause in _OF_DATA for finding in errors) else PairError
        raise kind("\n".join(f"[{finding.clause}] {finding.message}" for finding in errors))
    for finding in found:
        warnings.warn(f"[{finding.clause}] {finding.message}", PyrovaeWarning, stacklevel=3)


_OF_DATA = ("support", "data")


def findings(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    dataset_size: int | None = None,
    data_plate: str | None = None,
) -> tuple[Finding, ...]:
    """Everything that is found, errors first; nothing is raised."""
    signature = list(_signatures(pair, args, kwargs))
    if signature:
        return tuple(signature)
    with isolated() as called, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traces = _run(pair, args, kwargs)
        if isinstance(traces, Finding):
            return (traces,)
        plate = data_plate or find_data_plate(pair, args, kwargs, traces)
        modules = roots([*bound_modules(pair), *called])
        structure = structure_of(traces, modules, plate)
        look = _Look(pair, args, kwargs, traces, structure, modules, batch_rows(args, kwargs), dataset_size)
        found = [finding for clause in CLAUSES for finding in clause(look)]
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _run(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Traces | Finding:
    """Run the pair once; where it raises, the finding that explains why."""
    stage = "guide"
    try:
        guide = pyro.poutine.trace(pair.guide).get_trace(*args, **kwargs)
        stage = "model"
        model = pyro.poutine.trace(pyro.poutine.replay(pair.model, trace=guide)).get_trace(*args, **kwargs)
    except Exception as error:
        clause, message = explain(error, stage, pair, args, kwargs)
        return Finding(clause, "error", message)
    return Traces(model, guide)


# --- clauses: each yields what it finds ---------------------------------------------------------------


def _signatures(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    for side, function in (("guide", pair.guide), ("model", pair.model)):
        try:
            introspection.signature(function).bind(*args, **kwargs)
        except ValueError:
            continue  # a builtin without a signature: running it will tell
        except TypeError as error:
            given = [f"{len(args)} positional", *(f"{name}=" for name in kwargs)]
            yield Finding(
                "signature",
                "error",
                f"the {side} does not take these data ({', '.join(given)}): {error}. Model and guide are called with "
                f"the same arguments; its signature is {_signature(function)}. Give both the same parameters.",
            )


def _signature(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', type(function).__name__)}{introspection.signature(function)}"


def _site_mismatch(look: _Look) -> Iterator[Finding]:
    sites = look.structure.sites
    for site in (s for s in sites.values() if s.role == "unguided"):
        yield Finding(
            "site-missing-in-guide",
            "error",
            f"the model draws {site.name!r}, which the guide does not (the guide draws "
            f"{_listed(name for name, _ in samples(look.traces.guide))}). Add pyro.sample({site.name!r}, ...) to the "
            f"guide, observe it in the model (obs=), or mark it infer={{'enumerate': 'parallel'}} if it is discrete.",
        )
    for name, node in samples(look.traces.guide):
        role = sites[name].role
        if role == "auxiliary" and not node["infer"].get("is_auxiliary"):
            yield Finding(
                "site-missing-in-model",
                "error",
                f"the guide draws {name!r}, which is no site of the model (its unobserved sites are "
                f"{_listed(s.name for s in sites.values() if s.role in ('latent', 'unguided'))}). Rename it, or mark "
                "it infer={'is_auxiliary': True} if other sites of the guide are made from it.",
            )
        if role == "observed":
            yield Finding(
                "site-missing-in-model",
                "error",
                f"{name!r} is drawn in the guide and observed in the model: an observed site has no posterior. "
                "Take it out of the guide, or drop obs= in the model.",
            )


def _nothing_observed(look: _Look) -> Iterator[Finding]:
    roles = {site.role for site in look.structure.sites.values()}
    if not roles & {"observed", "factor"}:
        yield Finding(
            "nothing-observed",
            "error",
            "the model observes nothing: no pyro.sample has obs= (and there is no pyro.factor), so there is nothing to "
            "fit. Pass the data to the likelihood: pyro.sample(name, distribution, obs=x).",
        )


def _shapes(look: _Look) -> Iterator[Finding]:
    """Batch dims of a site must each belong to a plate."""
    for trace in (look.traces.guide, look.traces.model):
        for name, node in samples(trace):
            if look.structure.sites[name].role in ("deterministic", "factor"):
                continue
            yield from _shape(look, name, node)


def _shape(look: _Look, name: str, node: dict) -> Iterator[Finding]:
    shape = node["fn"].batch_shape
    dims = {frame.dim for frame in node["cond_indep_stack"] if frame.vectorized}
    loose = [dim for dim in range(-len(shape), 0) if dim not in dims and shape[dim] > 1]
    if not loose:
        return
    rows = look.rows
    leftmost = min(loose)
    if shape[leftmost] == rows and not dims:
        yield Finding(
            "batch-outside-plate",
            "error",
            f"{name!r} has a batch of shape {tuple(shape)} outside any plate: its {rows} rows are taken for one "
            f"event's dims. Put the site inside `with pyro.plate('data', len(x)):` in model and guide.",
        )
    else:
        yield Finding(
            "to-event",
            "error",
            f"{name!r} has batch shape {tuple(shape)}, of which only dims {sorted(dims)} belong to plates "
            f"({_listed(f.name for f in node['cond_indep_stack'])}). The rest describe one datum: add "
            f".to_event({-leftmost if not dims else len(loose)}) to its distribution.",
        )


def _plates_agree(look: _Look) -> Iterator[Finding]:
    for name, node in samples(look.traces.guide):
        other = look.traces.model.nodes.get(name)
        if other is None or node["infer"].get("enumerate") or other["type"] != "sample":
            continue
        mine, theirs = ({(f.dim, int(f.size)) for f in n["cond_indep_stack"] if f.vectorized} for n in (node, other))
        if mine != theirs:
            yield Finding(
                "plate-mismatch",
                "error",
                f"{name!r} stands in plates of (dim, size) {sorted(mine)} in the guide and {sorted(theirs)} in the "
                "model. Use plates of the same size and dim on both sides.",
            )
        elif node["fn"].event_shape != other["fn"].event_shape and mine == theirs:
            yield Finding(
                "to-event",
                "error",
                f"{name!r} has event shape {tuple(node['fn'].event_shape)} in the guide and "
                f"{tuple(other['fn'].event_shape)} in the model. One of them lacks a .to_event(...).",
            )


def _plate_scale(look: _Look) -> Iterator[Finding]:
    """Global sites count once for the whole data set, so the data plate must know how many data there are."""
    structure = look.structure
    global_sites = [s.name for s in structure.sites.values() if s.role in ("latent", "enumerated") and not s.local]
    if not global_sites or structure.data_plate is None or look.dataset_size is None:
        return
    _, size = plates(look.traces)[structure.data_plate]
    if size not in (look.dataset_size, -1):
        yield Finding(
            "plate-scale",
            "error",
            f"the data plate {structure.data_plate!r} has size {size}, but the data set has {look.dataset_size} rows, "
            f"and there are global sites ({_listed(global_sites)}): their KL would be counted once a batch. Write "
            f"pyro.plate({structure.data_plate!r}, size={look.dataset_size}, subsample_size=len(x)) in model and "
            "guide, or train on whole batches (batch_size=None with steps over all rows).",
        )


def _support(look: _Look) -> Iterator[Finding]:
    """Observed values outside the support of their distribution, also where validation is off."""
    for name, node in samples(look.traces.model):
        if look.structure.sites[name].role != "observed":
            continue
        message = outside_support(name, node["fn"], node["value"], node["mask"])
        if message is None:
            continue
        checked = pyro.infer.util.is_validation_enabled() and validates(node["fn"])
        yield Finding("support", "error" if checked else "warning", message)


def _module_names(look: _Look) -> Iterator[Finding]:
    """A parameter whose starting value is a module's, but whose store entry is another tensor."""
    taken: dict[str, str] = {}
    for trace in look.traces:
        for name, node in trace.nodes.items():
            if node["type"] != "param" or len(node["args"]) < 2:
                continue
            given, stored = node["args"][1], node["value"].unconstrained()
            if isinstance(given, nn.Parameter) and given is not stored:
                taken.setdefault(name.split("$$$")[0], name)
    for module, name in taken.items():
        yield Finding(
            "module-name-taken",
            "error",
            f"the parameter {name!r} of the module {module!r} is already in Pyro's store as another module's: this one "
            f"would not be trained, silently. Give it a name of its own in pyro.module(...), or call "
            "pyro.clear_param_store() before building a new model.",
        )


def _one_sided_scale(look: _Look) -> Iterator[Finding]:
    for name, node in samples(look.traces.guide):
        other = look.traces.model.nodes.get(name)
        if other is None or other["type"] != "sample" or other["is_observed"]:
            continue
        mine, theirs = (torch.as_tensor(n["scale"], dtype=torch.float64) for n in (node, other))
        if not torch.allclose(mine, theirs.to(mine.device)):
            yield Finding(
                "one-sided-scale",
                "error",
                f"the log-probability of {name!r} is scaled by {_number(mine)} in the guide and {_number(theirs)} in "
                "the model: that is not a weighted KL, and TraceMeanField_ELBO would ignore the model's scale. Scale "
                "both sides alike, or leave scales out and pass temper= to fit.",
            )


def _reads_observed(look: _Look) -> Iterator[Finding]:
    """Rerun the model on perturbed data with all latent values fixed: no distribution may move."""
    if getattr(look.pair, "reads_observed", False):
        return  # declared by the pair's author
    observed = [node for name, node in samples(look.traces.model) if look.structure.sites[name].role == "observed"]
    for position, leaf in _leaves(look.args, look.kwargs):
        if not any(_same(leaf, node["value"]) for node in observed) or len(leaf) < 2:
            continue
        # Rows change places: each row stays a legal datum, whatever the likelihood.
        moved = _rerun_model(look, position, leaf.roll(1, dims=0))
        names = [name for name, node in moved.items() if not _same_distribution(node, look.traces.model.nodes[name])]
        if names:
            yield Finding(
                "reads-observed",
                "warning",
                f"the distribution of {_listed(names)} in the model moves when the observed argument {position!r} "
                "does: the model reads its data other than by obs= and their length, so its prior draws would hold the "
                "test data. If that is meant (a library size, an autoregressive decoder), declare it: set "
                "`reads_observed = True` on the pair.",
            )


def _leaves(args: tuple, kwargs: Mapping[str, Any]) -> list[tuple[int | str, torch.Tensor]]:
    named = [*enumerate(args), *kwargs.items()]
    return [(key, leaf) for key, leaf in named if isinstance(leaf, torch.Tensor) and leaf.ndim]


def _same(leaf: torch.Tensor, value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.numel() == leaf.numel()
        and value.dtype == leaf.dtype
        and torch.equal(value.reshape(-1), leaf.reshape(-1))
    )


def _rerun_model(look: _Look, position: int | str, leaf: torch.Tensor) -> dict[str, dict]:
    args = tuple(leaf if i == position else a for i, a in enumerate(look.args))
    kwargs = {k: leaf if k == position else a for k, a in look.kwargs.items()}
    # Observed sites keep their values too: what depends on an observed value depends on it in any direction.
    latent = {name: n["value"] for name, n in look.traces.model.nodes.items() if _fixed(n)}
    model = pyro.poutine.condition(look.pair.model, data={k: v for k, v in latent.items() if v is not None})
    subsample = {n: node for n, node in look.traces.model.nodes.items() if node["type"] == "sample"}
    replayed = pyro.poutine.Trace()
    for name, node in subsample.items():
        if site_is_subsample(node):
            replayed.add_node(name, **node)
    trace = pyro.poutine.trace(pyro.poutine.replay(model, trace=replayed)).get_trace(*args, **kwargs)
    return {name: node for name, node in samples(trace) if name in look.traces.model}


def _fixed(node: dict) -> bool:
    return node["type"] == "sample" and not site_is_subsample(node)


def _same_distribution(node: dict, before: dict) -> bool:
    """Equal log-probability of the same value: enough, since that value is an ordinary draw."""
    if type(before["fn"]).__name__ == "Unit" or before["infer"].get("_deterministic"):
        return True
    value = before["value"]
    with torch.no_grad(), pyro.validation_enabled(False):
        now, then = node["fn"].log_prob(value), before["fn"].log_prob(value)
    return now.shape == then.shape and torch.allclose(now, then, rtol=1e-4, atol=1e-5, equal_nan=True)


def _mixed(look: _Look) -> Iterator[Finding]:
    """Parameters of several devices or floating types."""
    parameters = look.structure.parameters
    for clause, kinds in (
        ("device", {str(p.device): name for name, p in parameters.items()}),
        ("dtype", {str(p.dtype): name for name, p in parameters.items() if p.is_floating_point()}),
    ):
        if len(kinds) > 1:
            listed = ", ".join(f"{kind} ({name!r})" for kind, name in kinds.items())
            yield Finding(
                clause,
                "error",
                f"the parameters are of several kinds: {listed}. Move the modules to one: module.to(...).",
            )


def _gradients(look: _Look) -> Iterator[Finding]:
    """Parameters on which no log-probability depends."""
    baselines = _baseline_parameters(look)
    parameters = {
        name: p for name, p in look.structure.parameters.items() if p.requires_grad and id(p) not in baselines
    }
    terms = [_fresh_log_prob(node) for trace in look.traces for _, node in samples(trace)]
    total = sum(term for term in terms if isinstance(term, torch.Tensor) and term.requires_grad)
    if isinstance(total, torch.Tensor) and parameters:
        grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        idle = [name for name, grad in zip(parameters, grads, strict=True) if grad is None]
    else:
        idle = list(parameters)
    if idle:
        yield Finding(
            "no-gradient",
            "warning",
            f"no gradient reaches {_listed(idle)}: they are registered, but nothing that is sampled or observed "
            "depends on them, so they would stay as they are. Use them, freeze them (requires_grad_(False)), or take "
            "them out.",
        )
    yield from _unregistered(look)


def _fresh_log_prob(node: dict) -> torch.Tensor | None:
    """A site's log-probability with its whole graph: flows answer from a cache where the value is the same object."""
    if node["infer"].get("_deterministic"):
        return None
    value = node["value"]
    return node["fn"].log_prob(value.clone() if isinstance(value, torch.Tensor) else value).sum()


def _baseline_parameters(look: _Look) -> set[int]:
    """Parameters of neural baselines, which the loss itself trains."""
    nets = [node["infer"].get("baseline", {}).get("nn_baseline") for _, node in samples(look.traces.guide)]
    return {id(p) for net in nets if isinstance(net, nn.Module) for p in net.parameters()}


def _unregistered(look: _Look) -> Iterator[Finding]:
    """Modules that ran, but whose parameters Pyro never saw."""
    known = {id(p) for p in look.structure.parameters.values()}
    missed = [
        f"{type(module).__name__}.{name}"
        for module in look.modules
        for name, p in module.named_parameters()
        if p.requires_grad and id(p) not in known and not name.endswith("_unconstrained")
    ]
    if missed and not any(f.clause == "module-name-taken" for f in _module_names(look)):
        yield Finding(
            "unregistered",
            "error",
            f"the parameters {_listed(missed)} are used, but Pyro does not know them, so they would never be trained. "
            "Call pyro.module(name, module) at the start of model or guide, or freeze them (requires_grad_(False)).",
        )


def _listed(names: Any, limit: int = 6) -> str:
    names = [f"{name!r}" if isinstance(name, str) else str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _number(value: torch.Tensor) -> str:
    return f"{value.flatten()[0].item():g}"


CLAUSES: tuple[Clause, ...] = (
    _site_mismatch,
    _nothing_observed,
    _shapes,
    _plates_agree,
    _plate_scale,
    _support,
    _module_names,
    _one_sided_scale,
    _reads_observed,
    _mixed,
    _gradients,
)
