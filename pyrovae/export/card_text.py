"""A model card's text: what the pair is, what it comes to, and what is not known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyrovae.export.card_figures import RELIABLE

_TAGS = ("pyrovae", "pyro", "variational-inference", "probabilistic-programming")


def card_text(config: Mapping[str, Any], *, title: str, description: str, license: str | None) -> str:
    """The whole `README.md`."""
    parts = [_front(license), f"# {' '.join(title.split())}", description, *_sections(config)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(license: str | None) -> str:
    """What the Hub reads."""
    lines = ["---", "library_name: pyrovae", *([f"license: {license}"] if license else []), "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in _TAGS), "---"])


def _sections(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it is"
    yield (
        f"A Pyro model and guide (`{config['pair']}`) with {config['parameters']:,} trained numbers, in "
        "`model.safetensors`; `config.json` holds this card's figures."
    )
    yield _table(
        ("site", "role", "distribution", "shape", "plates"),
        [
            (one["name"], one["role"], one["model"] or one["guide"], _shape(one["shape"]), ", ".join(one["plates"]))
            for one in config["sites"]
        ],
    )
    yield "## How to use it"
    yield (
        "The weights belong to the code that made the pair:\n\n```python\nimport pyrovae as pv\n\n"
        'pair = ...  # made as for the training\npv.load(pair, "model.safetensors")\n```'
    )
    yield "## What it was measured on"
    yield _data(config["data"])
    yield "## What it comes to"
    yield from _figures(config["figures"], config["data"]["rows_measured"])
    yield "## What is not known"
    yield "\n".join(f"- {line}" for line in _limits(config))


def _data(data: Mapping[str, Any]) -> str:
    digests = ", ".join(f"`{name}`: `{digest}`" for name, digest in data["digests"].items())
    told = f"{data['rows']:,} rows" if data["rows"] else "rows of a stream"
    return (
        f"{told[:1].upper()}{told[1:]}, of which {data['rows_measured']:,} were looked at. Digest of {data['read']}: "
        f"{digests or 'none'}. The same digest means the same numbers in the same order."
    )


def _figures(figures: Mapping[str, Any], rows: int) -> Iterator[str]:
    found = list(_lines(figures))
    if found:
        yield _table(("figure", "value", "how to read it"), found)
    for site, one in figures.get("coverage", {}).items():
        yield f"Intervals of `{site}`, of {rows:,} rows: {one['verdict']}"
        shares = zip(one["levels"], one["shares"], one["errors"], strict=True)
        yield _table(
            ("level", "share inside"), [(f"{level:.0%}", _number(*pair, share=True)) for level, *pair in shares]
        )


def _lines(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "bound" in figures:
        one = figures["bound"]
        yield "ELBO", _number(one.get("elbo"), one.get("error")), "nats a row, at most its log-probability"
    if "log_evidence" in figures:
        one = figures["log_evidence"]
        yield "log evidence", _number(one["value"], one["error"]), f"nats a row, by {one['draws']} draws"
    if "weights" in figures:
        share = figures["weights"]["reliable_share"]
        yield f"k-hat below {RELIABLE}", f"{share:.0%} of rows", "where importance weights can be trusted"
    if "false_alarms" in figures:
        one = figures["false_alarms"]
        yield (
            "false alarms",
            _number(one["rate"], one["error"], share=True),
            f"usual rows that `novelty` flags where {one['asked']:.0%} are asked for, of {one['rows']:,} rows",
        )


def _limits(config: Mapping[str, Any]) -> Iterator[str]:
    yield "Every figure is of the rows named above. Whether the pair was trained on them, its author must say."
    yield "Data of another kind were not looked at; `pv.novelty` says how strange a row is to the pair."
    share = config["figures"].get("weights", {}).get("reliable_share")
    if share is not None and share < 0.95:
        yield f"The importance weights of {1 - share:.0%} of the rows are unreliable: their evidence is a lower bound."
    for name, reason in config["left_out"].items():
        yield f"No {name.replace('_', ' ')}: {reason}"


def _number(value: float | None, error: float | None = None, *, share: bool = False) -> str:
    if value is None:
        return "not finite"
    shown = f"{value:.1%}" if share else f"{value:,.3f}"
    return shown + ("" if error is None else f" ± {error:.1%}" if share else f" ± {error:.3f}")


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
