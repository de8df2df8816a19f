"""`pyrovae evaluate`: the figures of a run in a table, each with a sentence on how to read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer

from pyrovae.cli.evaluate_seeds import over_seeds
from pyrovae.cli.measures import RELIABLE, Effort, measure
from pyrovae.cli.trained_run import Trained
from pyrovae.errors import ArgumentError


class TableRow(NamedTuple):
    """A row of the table."""

    figure: str
    value: str
    reading: str


def evaluate(run: Trained, effort: Effort, *, seeds: int | None = None, as_json: bool = False) -> None:
    """Print every figure that applies; with seeds, their spread over so many trainings."""
    if seeds is not None and seeds < 2:
        raise ArgumentError(f"--seeds {seeds}; a spread needs 2 at least.")
    found = measure(run, effort)
    if seeds is not None:
        if not as_json:
            typer.echo(f"Training from {seeds} seeds.", err=True)
        found["seeds"] = over_seeds(run, effort, seeds)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(found, f"{run.folder.path.name}: {found['data']}")


def _print(found: dict[str, Any], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_edge=False)
    for heading in TableRow._fields:
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=heading == "value")
    for line in lines(found):
        table.add_row(*line)
    console = Console(markup=False, highlight=False)
    console.print(table)
    if found["rows_looked_at_closely"] < found["rows"]:
        console.print(
            f"ELBO, rate, distortion and active dimensions are of all {found['rows']:,} rows, the other figures of "
            f"{found['rows_looked_at_closely']:,} of them; --rows says how many."
        )
    for name, reason in found["left_out"].items():
        console.print(f"No {name.replace('_', ' ')}: {reason}")


def lines(found: dict[str, Any]) -> list[TableRow]:
    """The table's rows."""
    parts = (_bound, _labels, _evidence, _perplexity, _thorough, _codes, _coverage, _resemblance, _spread)
    return [line for part in parts for line in part(found)]


def _number(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "not finite"
    return f"{value:,.3f}" + ("" if error is None else f" ± {error:.3f}")


def _bound(found: dict[str, Any]) -> Iterator[TableRow]:
    if "elbo" not in found:
        return
    yield TableRow(
        "ELBO",
        _number(found["elbo"], found["error"]),
        "nats per datum, at most its log-probability; higher is better",
    )
    yield TableRow("rate", _number(found["rate"]), "nats that the latent variables carry about a datum")
    yield TableRow(
        "distortion", _number(found["distortion"]), "nats that are lost between a datum and its reconstruction"
    )
    if "bits_per_element" in found:
        yield TableRow("bits", _number(found["bits_per_element"]), "per pixel or column, at most; lower is better")


def _labels(found: dict[str, Any]) -> Iterator[TableRow]:
    if "labels" in found:
        one = found["labels"]
        yield TableRow(
            "labels told",
            f"{one['value']:.1%}" + ("" if one["error"] is None else f" ± {one['error']:.1%}"),
            f"of {one['rows']:,} labels, all of them withheld; who always said the most frequent one would be right of "
            f"{one['most_frequent']:.1%}",
        )


def _evidence(found: dict[str, Any]) -> Iterator[TableRow]:
    if "log_evidence" in found:
        one = found["log_evidence"]
        yield TableRow(
            "log evidence",
            _number(one["value"], one["error"]),
            "nats per datum, closer to its log-probability than the ELBO; the gap is what the guide misses. "
            "The error is a standard error, rows and draws together",
        )
    if "weights" in found:
        one = found["weights"]
        yield TableRow(
            f"k-hat below {RELIABLE}",
            f"{one['reliable_share']:.0%} of rows",
            f"where importance weights can be trusted; {one['draws']} draws are worth "
            f"{one['median_sample_size']:,.0f} of the posterior. With few such rows the evidence is a lower bound",
        )


def _perplexity(found: dict[str, Any]) -> Iterator[TableRow]:
    if "perplexity" in found:
        one = found["perplexity"]
        yield TableRow(
            "perplexity",
            _number(one["value"]),
            f"of each of {one['tokens']:,} tokens, the ends of lines among them, codes integrated out; lower is "
            "better, and it compares with that of a language model",
        )


def _thorough(found: dict[str, Any]) -> Iterator[TableRow]:
    if "annealed_evidence" in found:
        one = found["annealed_evidence"]
        ends = one["bracket"]
        yield TableRow(
            "annealed",
            _number(one["value"], one["error"]),
            f"log evidence of {one['rows']} of the rows by annealing, for which importance weights give "
            f"{_number(one['importance'])}: where it is higher, those fall short"
            + ("" if ends is None else f". On data drawn from the model the truth is known to within {ends:.2f} nats"),
        )
    if "gap_of_the_guide" in found:
        one = found["gap_of_the_guide"]
        best, network = one["approximation"], one["amortisation"]
        yield TableRow(
            "approximation",
            _number(best["value"], best["error"]),
            "nats a datum that the best guide of this family still loses; a richer family loses less",
        )
        yield TableRow(
            "amortisation",
            _number(network["value"], network["error"]),
            "nats a datum that the network loses against that best one; a larger network, or longer training, less",
        )


def _codes(found: dict[str, Any]) -> Iterator[TableRow]:
    for site, units in found["active_units"].items():
        yield TableRow(f"active {site}", f"{units['count']} of {units['total']}", "latent dimensions in use")
    if "mutual_information" in found:
        one = found["mutual_information"]
        yield TableRow(
            "mutual information",
            _number(one["value"]),
            f"nats that codes tell about which row they are of, the log of the rows at most, {one['most']:.2f}; close "
            "to that, neither this figure nor the next says much, and more rows would",
        )
        yield TableRow(
            "codes to prior",
            _number(one["aggregate_kl"]),
            "the rest of the rate: how far all codes together are from the prior; large means that drawn data come "
            "from codes which no datum has",
        )


def _coverage(found: dict[str, Any]) -> Iterator[TableRow]:
    sources = {"model": "a new datum", "rest": "the rest of the datum", "residual": "the datum's own code"}
    for site, one in found.get("coverage", {}).items():
        for level, share, error in zip(one["levels"], one["shares"], one["errors"], strict=True):
            if level != 0.9:
                continue
            yield TableRow(
                f"coverage of {site}",
                f"{share:.1%} ± {error:.1%}" if share is not None and error is not None else "not finite",
                f"of values lie in the central {level:.0%} interval predicted for {sources[one['source']]}, and "
                f"{level:.0%} should; over all levels: {one['verdict']}",
            )


def _resemblance(found: dict[str, Any]) -> Iterator[TableRow]:
    if "resemblance" not in found:
        return
    one = found["resemblance"]
    yield TableRow(
        "told apart",
        f"{one['classifier']['accuracy']:.1%}",
        "of real and drawn rows by a classifier; 50% is chance, so lower is better",
    )
    yield TableRow(
        "discrepancy", f"{one['discrepancy']['value']:.2g}", "between real and drawn rows (squared MMD); 0 is best"
    )
    yield TableRow("precision", f"{one['precision']:.1%}", "of drawn rows lie among real ones: do they look real?")
    yield TableRow("recall", f"{one['recall']:.1%}", "of real rows lie among drawn ones: are all kinds drawn?")
    yield TableRow(
        "density", f"{one['density']:.2f}", "of real rows around a drawn one; 1 for equal sets, as precision"
    )
    yield TableRow("coverage of kinds", f"{one['coverage']:.1%}", "of real rows have a drawn one nearby, as recall")


def _spread(found: dict[str, Any]) -> Iterator[TableRow]:
    if "seeds" not in found:
        return
    several = found["seeds"]
    words = (
        f"mean and standard deviation over {len(several['seeds'])} trainings: a difference to another model that is no "
        "larger is luck"
    )
    for name, one in several["figures"].items():
        yield TableRow(f"seeds: {name}", f"{_number(one['mean'])} ± {_number(one['spread'])}", words)
        words = "as above"
