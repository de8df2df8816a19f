"""What to train on data nobody has described: likelihood, scaling, nets and latent size, each with its reason."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from pyrovae.errors import ArgumentError, DataError

# Files larger than this are judged by rows spread over them; reading a whole one would take longer than training.
_LARGE = 2**30

_SAMPLE = 20_000

# Grey levels that programs write: 4 bits, the bundled digits, 5 to 8 bits.
_TOP_LEVELS = (15, 16, 31, 63, 127, 255)

# Up to this many pixels a plain network sees the whole image as well as convolutions do, and trains faster.
_PIXELS_FOR_MLP = 1_024


LIKELIHOODS = (
    "bernoulli",
    "continuous-bernoulli",
    "discretized-logistic",
    "normal",
    "laplace",
    "student-t",
    "log-normal",
    "beta",
    "poisson",
    "negative-binomial",
)

# What each likelihood can do with the data, the usual one first.
SCALINGS = {
    "bernoulli": ("none", "binary"),
    "continuous-bernoulli": ("unit", "none"),
    "discretized-logistic": ("unit",),
    "normal": ("standard", "none"),
    "laplace": ("standard", "none"),
    "student-t": ("standard", "none"),
    "log-normal": ("log", "none"),
    "beta": ("none",),
    "poisson": ("log", "none"),
    "negative-binomial": ("log", "none"),
}

NETS = ("mlp", "conv")

PRIORS = ("standard", "learned", "student", "mixture", "vamp", "flow")

GUIDES = ("normal", "full", "mixture", "iaf")


class Facts(NamedTuple):
    """What the choice depends on: `shape` is that of one datum, `top` the highest grey level, or 0 for no levels."""

    kind: Literal["images", "table", "text"]
    rows: int
    shape: tuple[int, ...]
    low: float
    high: float
    whole: bool
    top: float
    dispersed: bool

    def words(self) -> str:
        """The data in a few words."""
        size = "x".join(map(str, self.shape if self.shape[0] > 1 else self.shape[1:] or self.shape))
        thing = f"images of {size}" if self.kind == "images" else f"rows of {size} columns"
        return f"{self.rows:,} {thing}, {'whole' if self.whole else 'real'} numbers {self.low:g} to {self.high:g}"


class Recommendation(NamedTuple):
    """A value and why it was chosen."""

    value: Any
    reason: str


class Advice(NamedTuple):
    """The choices that make a pair."""

    likelihood: Recommendation
    scaling: Recommendation
    net: Recommendation
    hidden: Recommendation
    latent: Recommendation

    def line(self) -> str:
        """All choices in one line."""
        widths = "-".join(map(str, self.hidden.value)) or "affine"
        return "; ".join(
            (
                f"likelihood {self.likelihood.value} ({self.likelihood.reason})",
                f"scaling {self.scaling.value} ({self.scaling.reason})",
                f"nets {self.net.value} {widths} ({self.net.reason})",
                f"latent {self.latent.value} ({self.latent.reason})",
            )
        )


def look(values: np.ndarray, kind: Literal["images", "table", "text"]) -> Facts:
    """Look at data `(rows, *event)`.

    Examples:
        >>> import pyrovae as pv
        >>> look(pv.datasets.digits().images, "images").words()
        '1,797 images of 8x8, whole numbers 0 to 16'
    """
    seen = np.asarray(spread_rows(values, _SAMPLE) if values.nbytes > _LARGE else values)
    low, high = float(seen.min()), float(seen.max())
    whole = seen.dtype.kind in "biu" or bool((seen == np.round(seen)).all())
    shape = values.shape[1:] if values.ndim != 3 else (1, *values.shape[1:])
    return Facts(kind, len(values), shape, low, high, whole, _top(seen, low, high, whole=whole), _dispersed(seen))


def spread_rows(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, evenly spread."""
    return values[:: max(1, math.ceil(len(values) / count))]


def advise(facts: Facts, given: Mapping[str, Any] | None = None) -> Advice:
    """Choose what is not given.

    Args:
        facts: the data.
        given: likelihood, scaling, net, hidden, latent, as far as somebody has decided.

    Returns:
        The choices; each given one is kept, or refused where it cannot work on these data.

    Raises:
        ArgumentError: choices that do not go together.
        DataError: values outside the support of the likelihood that was asked for.

    Examples:
        >>> import pyrovae as pv
        >>> facts = look(pv.datasets.digits().images, "images")
        >>> [choice.value for choice in advise(facts, {"latent": 2})]
        ['discretized-logistic', 'unit', 'mlp', (256,), 2]
    """
    asked = {name: value for name, value in (given or {}).items() if value is not None}
    likelihood = _given(asked, "likelihood") or _likelihood(facts)
    _check_likelihood(likelihood.value, asked, facts)
    scaling = _given(asked, "scaling") or _scaling(likelihood.value, facts)
    _check_scaling(likelihood.value, scaling.value, facts)
    net = _given(asked, "net") or _net(facts)
    _check_net(net.value, facts)
    hidden = _given(asked, "hidden") or _hidden(net.value, facts)
    latent = _given(asked, "latent") or _latent(net.value, facts)
    if latent.value < 1:
        raise ArgumentError(f"--latent {latent.value}; give a whole number, 1 at least.")
    return Advice(likelihood, scaling, net, hidden, latent)


def _top(seen: np.ndarray, low: float, high: float, *, whole: bool) -> float:
    if whole and low >= 0 and 1 < high <= 255:
        return float(next(top for top in _TOP_LEVELS if top >= high))
    levels = seen.astype(np.float64) * 255 if low >= 0 and 0 < high <= 1 and not whole else None
    return 1.0 if levels is not None and bool((abs(levels - np.round(levels)) < 1e-3).all()) else 0.0


def _dispersed(seen: np.ndarray) -> bool:
    """Whether columns vary as counts do: their variance is at least their mean, for most of them."""
    flat = seen.reshape(len(seen), -1)
    return bool(np.mean(flat.var(0, dtype=np.float64) >= flat.mean(0, dtype=np.float64)) > 0.5)


def _given(asked: Mapping[str, Any], name: str) -> Recommendation | None:
    return Recommendation(asked[name], "as given") if name in asked else None


def _likelihood(facts: Facts) -> Recommendation:
    if _is_binary(facts):
        return Recommendation("bernoulli", "every value is 0 or 1")
    if facts.kind == "images":
        return _image_likelihood(facts)
    if facts.whole and facts.low >= 0 and facts.dispersed:
        return Recommendation("negative-binomial", "counts that vary more than a Poisson allows")
    return Recommendation("normal", "real numbers, with one learned noise scale a column")


def _image_likelihood(facts: Facts) -> Recommendation:
    if facts.top:
        count = 256 if facts.top == 1 else int(facts.top) + 1
        return Recommendation("discretized-logistic", f"{count} grey levels, each of which has a probability")
    if facts.low >= 0 and facts.high <= 1:
        return Recommendation("continuous-bernoulli", "grey values from 0 to 1 that are no levels")
    return Recommendation("normal", f"pixels from {facts.low:g} to {facts.high:g} are no grey levels")


def _scaling(likelihood: str, facts: Facts) -> Recommendation:
    if likelihood == "bernoulli" and not _is_binary(facts):
        return Recommendation("binary", "grey pixels are drawn as 0 or 1 afresh in each batch")
    if likelihood == "continuous-bernoulli" and facts.high <= 1:
        return Recommendation("none", "they lie between 0 and 1 already")
    one = "column" if facts.kind == "table" else "image set"
    reasons = {
        "none": "nothing to scale",
        "unit": f"the nets see values divided by {facts.top or facts.high:g}",
        "standard": f"each {one} less its mean, by its standard deviation, inside the pair",
        "log": "the nets see standardised logarithms",
    }
    usual = SCALINGS[likelihood][0]
    return Recommendation(usual, reasons[usual])


def _net(facts: Facts) -> Recommendation:
    if facts.kind == "table":
        return Recommendation("mlp", "columns have no neighbours")
    pixels = math.prod(facts.shape)
    if pixels <= _PIXELS_FOR_MLP:
        return Recommendation("mlp", f"{pixels} pixels are few enough to do without convolutions")
    return Recommendation("conv", f"{pixels:,} pixels are many, and neighbours belong together")


def _hidden(net: str, facts: Facts) -> Recommendation:
    if net == "conv":
        return Recommendation((32, 64), "two levels")
    return Recommendation(
        (128, 64) if facts.kind == "table" else (min(400, 4 * math.prod(facts.shape)),), "usual widths"
    )


def _latent(net: str, facts: Facts) -> Recommendation:
    size = math.prod(facts.shape)
    if facts.kind == "table":
        return Recommendation(max(1, min(8, size // 2)), "half the columns, 8 at most")
    if net == "conv":
        return Recommendation(32, "usual for images of this size")
    return Recommendation(max(2, min(20, size // 8)), "an eighth of the pixels, 20 at most")


# --- what cannot work ---------------------------------------------------------------------------------
def _is_binary(facts: Facts) -> bool:
    return facts.whole and facts.low >= 0 and facts.high <= 1


def _is_grey(facts: Facts) -> bool:
    return facts.kind == "images" and facts.low >= 0 and (facts.high <= 1 or facts.top > 1)


_SUPPORTS: dict[str, tuple[str, Callable[[Facts], bool]]] = {
    "bernoulli": ("zeros and ones, or grey images to binarise", lambda f: _is_binary(f) or _is_grey(f)),
    "continuous-bernoulli": ("numbers from 0 to 1, or grey images", lambda f: _is_grey(f) or 0 <= f.low <= f.high <= 1),
    "discretized-logistic": ("grey levels 0 to 255, or the same divided by 255", lambda f: bool(f.top)),
    "log-normal": ("numbers above 0", lambda f: f.low > 0),
    "beta": ("numbers strictly between 0 and 1", lambda f: f.low > 0 and f.high < 1),
    "poisson": ("whole numbers from 0 up", lambda f: f.whole and f.low >= 0),
    "negative-binomial": ("whole numbers from 0 up", lambda f: f.whole and f.low >= 0),
}


def one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    """The value, if it is a known one; otherwise an error with the nearest names."""
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ArgumentError(f"{option} {value!r} is not known; there are {', '.join(known)}.{hint}")
    return value


def support_of(likelihood: str) -> tuple[str, Callable[[Facts], bool]]:
    """What a likelihood takes, in words, and whether data are that."""
    return _SUPPORTS.get(likelihood, ("", lambda f: True))


def _check_likelihood(likelihood: str, asked: Mapping[str, Any], facts: Facts) -> None:
    one_of("--likelihood", likelihood, LIKELIHOODS)
    takes, fits = support_of(likelihood)
    if not fits(facts):
        raise DataError(
            f"--likelihood {likelihood} takes {takes}; these data are {facts.words()}. "
            f"Rescale them, or choose another: {_likelihood(facts).value} would do."
        )


def _check_scaling(likelihood: str, scaling: str, facts: Facts) -> None:
    one_of("--scaling", scaling, ("none", "unit", "standard", "log", "binary"))
    if scaling not in SCALINGS[likelihood]:
        raise ArgumentError(
            f"--scaling {scaling} does not go with --likelihood {likelihood}, which takes "
            f"{' or '.join(SCALINGS[likelihood])}."
        )
    if scaling == "none" and "binary" in SCALINGS[likelihood] and not _is_binary(facts):
        raise DataError("grey values have no density under bernoulli: --scaling binary draws zeros and ones of them.")
    if scaling == "none" and likelihood == "continuous-bernoulli" and facts.high > 1:
        raise DataError(f"continuous-bernoulli takes values up to 1, these reach {facts.high:g}: --scaling unit.")


def _check_net(net: str, facts: Facts) -> None:
    one_of("--net", net, NETS)
    if net == "conv" and len(facts.shape) != 3:
        raise ArgumentError("--net conv is for images; the rows of a table have no neighbours: --net mlp.")
