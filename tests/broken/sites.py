"""Sites that do not match, models that read what they observe, nothing observed."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from registry import LATENT, WIDTH, Encoder, amortised_guide, binary, counts, decoder_net, real, standard_normal
from torch import nn

from broken.entries import broken, sound_model
from pyrovae.pairs.pair import Pair

AUXILIARY = {"is_auxiliary": True}

# Sites that do not match.


@broken("site-missing-in-guide", "error", "z", "guide")
def guide_forgets_a_site():
    # warns "Found vars in model but not guide: {'z'}" each step; z comes from the prior, and training goes on.
    def guide(x):
        pass

    return Pair(sound_model(decoder_net()), guide), real()


@broken("angle", "error", "z", "VonMises", "one round")
def guide_goes_round_and_round():
    # silent: the density of an angle repeats itself, and a normal that spreads over ten rounds counts them all.
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.VonMises(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z.cos().unsqueeze(-1).expand(-1, WIDTH), 1.0).to_event(1), obs=x)

    encoder = nn.Linear(WIDTH, 2)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).unbind(-1)
            pyro.sample("z", dist.Normal(loc, scale.exp()))

    return Pair(model, guide), real()


@broken("observed-in-guide", "warning", "'x'", "no part of q", "TraceCausalEffect_ELBO")
def guide_observes_a_site():
    # trains: Trace_ELBO counts log q(x) as a part of q, and makes it small.
    decoder = decoder_net()

    def more(x):
        pyro.sample("x", dist.Normal(pyro.param("level", torch.zeros(WIDTH)), 1.0).to_event(1), obs=x, infer=AUXILIARY)

    return Pair(sound_model(decoder), _guide_with(more)), real()


@broken("site-missing-in-guide", "error", "z", "latent", "guide")
def names_differ():
    # two warnings (vars in guide but not model, vars in model but not guide); the decoder trains on prior draws.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("latent", dist.Normal(*encoder(x)).to_event(1))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-guide", "error", "z2", "guide")
def guide_forgets_the_second_level():
    # warns as above; z2 comes from the prior, its log p cancels nothing and no encoder learns it.
    encoder, level, decoder = Encoder(), Encoder(LATENT), decoder_net()

    def model(x):
        pyro.module("level", level)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", standard_normal(x))
            z = pyro.sample("z", dist.Normal(*level(z2)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


def _guide_with(more):
    """A sound guide, and one site more inside its plate."""
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))
            more(x)

    return guide


@broken("site-missing-in-model", "error", "u", "is_auxiliary")
def guide_has_one_site_more():
    # warns "Found non-auxiliary vars in guide but not model"; log q(u) stays in the loss.
    guide = _guide_with(lambda x: pyro.sample("u", dist.Normal(0.0, 1.0)))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "x", "guide", "observed")
def guide_draws_the_observed_site():
    # warns "Found non-auxiliary vars in guide but not model: {'x'}"; the model keeps the data, log q of a drawn x
    # joins the loss.
    guide = _guide_with(lambda x: pyro.sample("x", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "w", "guide", "obs")
def guide_observes():
    # warns as above, {'w'}; -log q(data) joins the loss.
    guide = _guide_with(lambda x: pyro.sample("w", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), obs=x))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "x", "guide", "obs")
def both_sides_observe():
    # warns as above, {'x'}; -log q(x) joins the loss.
    guide = _guide_with(lambda x: pyro.sample("x", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), obs=x))
    return Pair(sound_model(decoder_net()), guide), real()


# Models that read what they observe.


@broken("reads-observed", "warning", "x", "obs")
def autoregressive_decoder():
    # silent: it works, but prior draws conditioned on x hold the data.
    decoder = decoder_net(LATENT + WIDTH)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            shifted = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], -1)
            logits = decoder(torch.cat([z, shifted], -1))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), binary()


@broken("reads-observed", "warning", "x", "obs")
def size_factor_from_the_counts():
    # silent, as above.
    decoder = nn.Sequential(decoder_net(), nn.Softmax(-1))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            rate = x.sum(-1, keepdim=True) * decoder(z) + 1e-6
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), counts()


@broken("reads-observed", "warning", "z", "x")
def prior_from_the_data():
    # silent: the prior may follow the posterior, so the rate says nothing.
    prior, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("prior", prior)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(*prior(x)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


# Nothing observed.


@broken("nothing-observed", "error", "obs=")
def forgotten_obs():
    # warns "Found vars in model but not guide: {'x'}"; trains on nothing.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1))

    return Pair(model, amortised_guide(Encoder())), real()


@broken("nothing-observed", "error", "obs=")
def observation_left_at_its_default():
    # the same warning.
    decoder = decoder_net()

    def model(c, x=None):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(c)):
            z = pyro.sample("z", standard_normal(c))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(c, x=None):
        net(c)

    net = amortised_guide(Encoder())
    return Pair(model, guide), real()
