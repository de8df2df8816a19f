"""The one registry of pairs: every style of model and guide, written as Pyro users write them.

Nothing here but `built_in` and `built_pairs` uses the building arm. A test takes the pairs it can work on by their
traits, `@pytest.mark.parametrize("entry", pairs(without={"full_data"}))`, and builds a fresh one by `entry.make()`.

Traits:
    mean_field       `TraceMeanField_ELBO` is right (reparameterised, closed or sampled KL site by site).
    renyi_ok         `RenyiELBO` is right: reparameterised, local sites only, no scale, nothing enumerated.
    broadcasts       model and guide run, and mean the same, in an outer plate (vectorised particles).
    covariates       more than one argument, one of which is not observed.
    keywords         the data are a dict.
    global           has global sites.
    subsampled       the data plate has the size of the data set and the batch as its subsample.
    full_data        takes all rows and draws its own subsample: never cut its data into batches.
    no_latent        no latent site.
    local_autoguide  an autoguide holds one parameter per row: it fits one data set only.
    autoguide        (part of) the guide is a Pyro autoguide; it has no parameters before its first call.
    lazy             some parameters do not exist before the first call.
    enumerates       needs `TraceEnum_ELBO`.
    score_function   has a site without reparameterised gradient.
    loss_state       what the loss has seen (a decaying average) changes its gradients.
    auxiliary        guide sites marked `is_auxiliary`.
    shared_auxiliary one auxiliary site serves several latent sites.
    point            the guide puts global sites at a point, which has no density.
    masked           masks of poutine or of `obs_mask`.
    buffers          modules with buffers that training changes.
    dropout          train and eval mode differ by noise.
    frozen           parameters that the author has frozen by `requires_grad_(False)`.
    factor           a `pyro.factor` in the model.
    deterministic    a `pyro.deterministic` in the model.
    scaled           the author scales log-probabilities.
    nested           a plate inside the data plate.
    no_plate_size    the data plate has no size.
    float64          parameters in double precision.
    unvalidated      the author switched validation off, and the data are outside the support.
    no_moments       an observed site whose distribution has no mean and variance.
    constant_mean    the mean of the observed site does not depend on what is drawn.
    building         made by the building arm.
"""

from registry import (
    built_pairs,
    covariates,
    discrete_sites,
    documentation,
    flows_and_families,
    global_sites,
    not_broadcasting,
    plates_and_masks,
)
from registry.data import binary, counts, grey, labels, real
from registry.entries import (
    LATENT,
    REGISTRY,
    ROWS,
    WIDTH,
    Entry,
    arguments,
    born,
    on_device,
    pairs,
    plate_of,
    rows,
    takes_all_rows,
    unweighted,
)
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal
from registry.parameters import ModuleGuide, ModuleModel
from registry.plain_functions import TutorialVAE

__all__ = [
    "LATENT",
    "REGISTRY",
    "ROWS",
    "WIDTH",
    "Encoder",
    "Entry",
    "ModuleGuide",
    "ModuleModel",
    "TutorialVAE",
    "amortised_guide",
    "arguments",
    "binary",
    "born",
    "built_pairs",
    "counts",
    "covariates",
    "decoder_net",
    "discrete_sites",
    "documentation",
    "flows_and_families",
    "global_sites",
    "grey",
    "labels",
    "not_broadcasting",
    "on_device",
    "pairs",
    "plate_of",
    "plates_and_masks",
    "real",
    "rows",
    "standard_normal",
    "takes_all_rows",
    "unweighted",
]
