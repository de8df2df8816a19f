"""The recipe of pairs for tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.models.conditionals.by_column import ByColumn
from pyrovae.models.conditionals.column import Column, HasColumns
from pyrovae.models.conditionals.discrete import Categorical
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.conditionals.self_masking import SelfMasking
from pyrovae.models.each_input import EachInput
from pyrovae.models.nets import MLP, Chain
from pyrovae.models.priors.mixture import Mixture
from pyrovae.models.units.table_units import TableUnits
from pyrovae.models.vaes.conditional_vae import ConditionalVAE
from pyrovae.models.vaes.labelled_vae import LabelledVAE
from pyrovae.models.vaes.not_at_random_vae import NotAtRandomVAE
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.masked import masked
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.with_schema import RowSchema, with_schema

_NORMALS = 10  # of the prior
_START = -2.0  # the logarithm of the guide's scales at first: at 0, 300 rows and few steps leave all of z unused


def table_vae(
    columns: Sequence[Column] | HasColumns,
    latent: int = 8,
    *,
    hidden: Sequence[int] = (128,),
    prior: Callable[[int], Any] | None = None,
    mechanism: SelfMasking | None = None,
    condition: Sequence[Column] | HasColumns | None = None,
    classes: int | None = None,
    outliers: float | str | None = None,
) -> HasPair:
    r"""A VAE of rows of a table whose columns are of several kinds and have holes (NaN).

    \[ z \sim p(z), \qquad x_j \mid z \sim p_{k(j)}\big(x_j \mid f_j(z)\big) \quad \text{for each cell} \]

    The choices, each with its reason:

    - *A family for each kind of column* (`ByColumn`): numbers, counts, classes and proportions draw what they can be.
    - *In the units of the data*: where a column lies and how it spreads is in the columns, so that densities compare
      across scalings, and evidence of rows is what it is called.
    - *The encoder sees what is there and what is not*: standardised numbers, one-hot classes, zeros in the place of
      holes, and a flag for each column.
    - *The guide begins narrow* (scales of e^-2): a decoder that gets mostly noise learns to do without z, which few
      steps of a small table do not take back.
    - *One hidden layer, and a mixture of ten normals as the prior*: what the evidence of held-out rows of real tables
      asks for (the benchmark "Which network, which prior"). Networks of two and three layers learn 1,500 rows by heart.
    - *What is missing counts nowhere* (`masked`): the pair trains on rows with holes as they are. That is right where
      cells are missing at random; where what they hold decides it, say how by `mechanism`: what is missing is then
      latent, and which cells are there is observed. Train it by `pv.objectives.IWAE`.

    Args:
        columns: what the columns are: `pv.tables.schema(frame)`, or a list of `Column`.
        latent: Dims of z.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        prior: what makes the prior of z of its dims, such as `pv.StandardNormal`; left out, a mixture of ten normals.
        mechanism: how what a cell holds decides whether it is there: `pv.SelfMasking(columns)`.
        condition: other columns, under which these are modelled, without holes (`ConditionalVAE`): the pair takes
            `(rows, condition)`, the latter as `condition.encode(frame)` makes it.
        classes: how many classes the rows are of, known for some (`LabelledVAE`): the pair takes `(rows, labels)`.
        outliers: how probable it is of a cell to be anything, whatever its row says, such as 0.05, or "learned" for
            each column: the other cells are then learned without these, `pv.tables.outliers` says how probable each
            one is, and what is drawn (imputed, generated) is clean.

    Returns:
        A pair of data `(rows, columns)`. With a schema it carries that, and every function takes frames.

    Examples:
        >>> import torch, pyrovae as pv
        >>> columns = [pv.Column("age", "real", center=40.0, spread=12.0), pv.Column("job", "categorical", classes=3)]
        >>> pair = pv.recipes.table_vae(columns, latent=2)
        >>> pv.generate(pair, 4, seed=0)["x"].shape
        torch.Size([4, 2])
    """
    (latent,) = check_counts(latent=latent)
    chosen = _columns(columns)
    if sum(one is not None for one in (mechanism, condition, classes)) > 1:
        raise ArgumentError(
            f"table_vae takes one of {argument('mechanism')}, {argument('condition')} and {argument('classes')}."
        )
    given = None if condition is None else TableUnits(_columns(condition), position=1)
    drawn = Mixture(_NORMALS, latent) if prior is None else prior(latent)
    parts = _Parts(chosen, drawn, latent, tuple(hidden), given, outliers)
    if classes is not None:
        vae: Any = parts.labelled(*check_counts(classes=classes))
    elif given is not None:
        vae = ConditionalVAE(**parts.three(given.width), condition=len(given.columns))
    elif mechanism is not None:
        vae = NotAtRandomVAE(**parts.three(), mechanism=_of_columns(mechanism, chosen))
    else:
        vae = VAE(**parts.three())
    pair = masked(vae, fill=math.nan)  # the encoder looks for what is missing itself
    return with_schema(pair, columns) if isinstance(columns, RowSchema) else pair


class _Parts:
    """Prior, likelihood and posterior of the rows of a table."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        prior: Any,
        latent: int,
        hidden: tuple[int, ...],
        given: TableUnits | None,
        outliers: float | str | None,
    ):
        self.columns, self.prior, self.latent, self.hidden = columns, prior, latent, hidden
        self.given, self.outliers, self.units = given, outliers, TableUnits(columns)

    def three(self, width: int = 0) -> dict[str, Any]:
        """The three; `width` is that of a condition, or of a label, in the networks."""
        d, outputs = self.latent, ByColumn.outputs(self.columns)
        decoder: Any = MLP([d, width] if width else d, self.hidden[::-1], outputs)
        if not width:
            encoder: Any = Chain(self.units, MLP(self.units.width, self.hidden, 2 * d))
        else:
            encoder = EachInput(MLP([self.units.width, width], self.hidden, 2 * d), self.units, self.given)
            decoder = EachInput(decoder, None, self.given)
        return {
            "prior": self.prior,
            "likelihood": ByColumn(decoder, self.columns, outliers=self.outliers, outlier_draws=False),
            "posterior": DiagNormal(_narrow(encoder, d)),
        }

    def labelled(self, classes: int) -> LabelledVAE:
        """With a class for each row."""
        classifier = Categorical(Chain(self.units, MLP(self.units.width, self.hidden, classes)))
        return LabelledVAE(**self.three(classes), classifier=classifier, classes=classes)


def _narrow(encoder: Any, latent: int) -> Any:
    """The encoder, whose scales begin narrow: the last of its numbers are their logarithms."""
    last = [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias[latent:] += _START
    return encoder


def _columns(columns: Sequence[Column] | HasColumns) -> tuple[Column, ...]:
    chosen = tuple(columns.columns if isinstance(columns, HasColumns) else columns)
    if not chosen or not all(isinstance(column, Column) for column in chosen):
        raise ArgumentError("table_vae takes pv.tables.schema(frame), or a list of pv.Column: what the columns are.")
    return chosen


def _of_columns(mechanism: SelfMasking, columns: tuple[Column, ...]) -> SelfMasking:
    if not isinstance(mechanism, SelfMasking) or mechanism.columns != columns:
        raise ArgumentError(
            "table_vae: mechanism is not one of these columns: give pv.SelfMasking(columns), of the same schema."
        )
    return mechanism
