"""Ways to know what a pair does not know of its weights: each gives a pair whose guide has a global site.

Whatever takes a pair takes these: `uncertainty` has an epistemic part, predictions draw weights, `fit`, `save` and
`load` work as with any other.
"""

from pyrovae.trust.epistemic.at_mean import at_mean
from pyrovae.trust.epistemic.bayesian_weights import bayesian_weights
from pyrovae.trust.epistemic.carry_over import carry_over
from pyrovae.trust.epistemic.dropout import dropout
from pyrovae.trust.epistemic.ensemble import ensemble
from pyrovae.trust.epistemic.swag import swag
from pyrovae.trust.epistemic.update import update

__all__ = ["at_mean", "bayesian_weights", "carry_over", "dropout", "ensemble", "swag", "update"]
