"""What a pair consists of: its sites, plates and parameters, as a table and as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyro
import torch

from pyrovae.checks.check_pair import findings, first_batch, report
from pyrovae.checks.signatures import as_given, check_call
from pyrovae.data.batch_sources import Batch
from pyrovae.data.placement import placed
from pyrovae.errors import ArgumentError, PairError, PyrovaeError, argument
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Site, inspected
from pyrovae.pairs.trace import Traces, plates
from pyrovae.pairs.turns import in_turn

_SHOWN = 40  # parameters that are listed one by one


class DescribedSite(NamedTuple):
    """A sample site of a pair: what it is, and its distributions on both sides."""

    name: str
    role: str  # latent, observed, enumerated, auxiliary, deterministic, factor or unguided
    local: bool  # one for each row
    model: str  # the distribution's family; "" where this side has no such site
    guide: str
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    plates: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Description:
    """What a pair consists of; it prints as a table.

    Attributes:
        sites: in the order in which they run.
        plates: {name: (rows that were seen, full size)}.
        parameters: the shape of each trained tensor, as it is behind its constraint.
        data_plate: the plate of the rows; None where there is none.
        untrained: parameters that the pair uses and no training would change.
    """

    sites: tuple[DescribedSite, ...]
    plates: Mapping[str, tuple[int, int]]
    parameters: Mapping[str, tuple[int, ...]]
    data_plate: str | None
    untrained: tuple[str, ...]
    _pair: HasPair = field(compare=False)
    _given: tuple[tuple, Mapping[str, Any]] = field(compare=False)

    def __repr__(self) -> str:
        numbers = sum(torch.Size(shape).numel() for shape in self.parameters.values())
        head = f"{len(self.sites)} sites, {len(self.parameters)} parameters of {numbers:,} numbers together"
        return "\n".join([head, *self._site_lines(), *self._plate_lines(), *self._parameter_lines()])

    def graph(self, side: Literal["model", "guide"] = "model", **options: Any) -> Any:
        """One side as a graph, by `pyro.render_model`.

        Args:
            side: which.
            **options: of `pyro.render_model`, as `render_distributions=True`.

        Returns:
            A `graphviz.Digraph`, which a notebook shows and `.render("pair", format="svg")` writes.

        Raises:
            ArgumentError: graphviz is not installed, or there is no such side.
            PairError: Pyro cannot follow this side.
        """
        if side not in ("model", "guide"):
            raise ArgumentError(f"graph: {argument('side', side)}; it is 'model' or 'guide'.")
        _check_graphviz()
        args, named = self._given
        with isolated(0):
            try:
                return pyro.render_model(getattr(self._pair, side), args, dict(named), **options)
            except Exception as error:  # whatever a user's function or Pyro's tracking meets
                raise PairError(
                    f"Pyro's render_model cannot draw the {side}: {type(error).__name__}: {error}. The table of "
                    "pv.describe shows the same sites."
                ) from error

    def _site_lines(self) -> list[str]:
        rows = [("site", "role", "model", "guide", "shape", "plates")]
        rows += [
            (
                one.name,
                f"{one.role}, {'one a row' if one.local else 'one for all'}" if one.role == "latent" else one.role,
                one.model,
                one.guide,
                f"{_shape(one.batch_shape)} | {_shape(one.event_shape)}",
                ", ".join(one.plates),
            )
            for one in self.sites
        ]
        return ["", *_columns(rows)]

    def _plate_lines(self) -> list[str]:
        rows = [
            (name, f"{seen:,} of {full:,}" if seen != full else f"{full:,}", "the rows" * (name == self.data_plate))
            for name, (seen, full) in self.plates.items()
        ]
        return ["", *_columns([("plate", "size", ""), *rows])] if rows else []

    def _parameter_lines(self) -> list[str]:
        names = list(self.parameters)
        rows = [("parameter", "shape")]
        rows += [(name, _shape(self.parameters[name])) for name in names[:_SHOWN]]
        lines = ["", *_columns(rows)] if names else ["", "no parameters"]
        if len(names) > _SHOWN:
            lines.append(f"  and {len(names) - _SHOWN:,} more, in .parameters")
        return [*lines, *(["", f"never trained: {', '.join(self.untrained)}"] if self.untrained else [])]


@in_turn
def describe(pair: HasPair, /, *data: Any, data_plate: str | None = None, **named: Any) -> Description:
    """What a pair consists of: its sites with their distributions, its plates and its parameters.

    Model and guide run once, and leave no trace. Shapes are Pyro's: batch | event.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, a few rows of each.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        A table to print; `.graph()` draws it where graphviz is installed.

    Raises:
        PairError: it is no pair, or its functions do not take these data.
        DataError: an array that holds no numbers, or no rows.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> print(pv.describe(vae, torch.ones(3, 5)))
        2 sites, 4 parameters of 39 numbers together
        <BLANKLINE>
          site  role               model    guide   shape      plates
          z     latent, one a row  Normal   Normal  (3) | (2)  data
          x     observed           Poisson          (3) | (5)  data
        ...
    """
    args, kwargs, _ = first_batch(pair, data, named)
    report(tuple(check_call(pair, args, kwargs)))
    given = Batch(*as_given(pair, args, kwargs))
    args, kwargs, _ = placed(pair, given).place(given)  # of the type that its weights have, as every question does it
    structure, traces = _inspected(pair, args, kwargs, data_plate)
    return Description(
        sites=tuple(_described(site, traces) for site in structure.sites.values()),
        plates=plates(traces),
        parameters={name: tuple(tensor.shape) for name, tensor in structure.parameters.items()},
        data_plate=structure.data_plate,
        untrained=tuple(structure.untrained),
        _pair=pair,
        _given=(args, kwargs),
    )


def _inspected(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], data_plate: str | None) -> Any:
    try:
        return inspected(pair, args, kwargs, data_plate=data_plate, seed=0)
    except PyrovaeError:
        raise
    except Exception as error:  # whatever a user's functions meet; the check knows it in words
        report(findings(pair, args, kwargs, data_plate=data_plate))
        raise PairError(f"the pair does not run on these data: {type(error).__name__}: {error}") from error


def _described(site: Site, traces: Traces) -> DescribedSite:
    sides = [trace.nodes.get(site.name) for trace in (traces.model, traces.guide)]
    model, guide = (_family(node, site) for node in sides)
    fn = next(node for node in sides if node is not None)["fn"]
    batch, event = tuple(getattr(fn, "batch_shape", ())), tuple(getattr(fn, "event_shape", ()))
    return DescribedSite(site.name, site.role, site.local, model, guide, batch, event, site.plates)


def _family(node: Any, site: Site) -> str:
    if node is None or node["type"] != "sample":
        return ""
    if site.role in ("deterministic", "factor"):
        return site.role
    return type(base_of(node["fn"])).__name__ + (", summed out" if node["infer"].get("enumerate") else "")


def _check_graphviz() -> None:
    try:
        import graphviz  # noqa: F401 - whether it is there  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise ArgumentError("graph: graphviz is not installed; pip install 'pyrovae[graph]'.") from None


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})" if shape else "()"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
