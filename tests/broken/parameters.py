"""Names that meet in the param store, and parameters that nothing trains."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from registry import (
    LATENT,
    WIDTH,
    Encoder,
    ModuleGuide,
    ModuleModel,
    TutorialVAE,
    amortised_guide,
    binary,
    decoder_net,
    real,
    standard_normal,
)
from torch import nn

from broken.entries import broken, sound_model
from pyrovae.pairs.pair import Pair

# Names in the param store.


def _train(pair, *batch):
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(*batch)


@broken("module-name-taken", "error", "decoder", "name")
def second_model_in_one_process():
    # silent: no parameter of the second moves, nor does any of the first. (pyro.module returns a copy that holds
    # the stored parameters, which this class throws away.)
    _train(TutorialVAE(), binary())
    return TutorialVAE(), binary()


@broken("module-name-taken", "error", "decoder", "name")
def deep_copy():
    # silent, as above: the copy never trains.
    first = TutorialVAE()
    _train(first, binary())
    return copy.deepcopy(first), binary()


@broken("module-name-taken", "error", "decoder", "name")
def second_model_of_another_size():
    # silent, as above, though the stored shapes differ.
    _train(TutorialVAE(hidden_dim=8), binary())
    return TutorialVAE(), binary()


@broken("module-name-taken", "error", "decoder.weight", "name")
def second_pyro_module():
    # silent: its nn.Parameters do not move; its PyroParams are the first pair's, which it reads and trains on.
    _train(Pair(ModuleModel(), ModuleGuide()), real())
    return Pair(ModuleModel(), ModuleGuide()), real()


@broken("module-name-taken", "error", "net", "name")
def one_name_for_encoder_and_decoder():
    # silent: the guide runs first, so the encoder trains and the decoder does not, though the shapes differ.
    encoder, decoder = Encoder(), Encoder(LATENT, WIDTH)

    def model(x):
        pyro.module("net", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z)[0], 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder, name="net")), real()


@broken("module-name-taken", "error", "net", "name")
def one_name_for_two_decoders():
    # silent: the first trains, the second does not.
    first, second = decoder_net(outputs=WIDTH), decoder_net(outputs=WIDTH)

    def model(x):
        pyro.module("net", first)
        pyro.module("net", second)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(first(z), second(z).exp()).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


# Parameters that nothing trains.


class WithUnusedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = decoder_net()
        self.forgotten = nn.Linear(3, 3)

    def forward(self, z):
        return self.net(z)


@broken("no-gradient", "warning", "decoder", "forgotten.weight")
def unused_layer():
    # silent: the optimiser is given the parameter and finds no gradient.
    return Pair(sound_model(WithUnusedLayer()), amortised_guide(Encoder())), real()


@broken("no-gradient", "warning", "encoder", "hidden.weight")
def detached_encoder():
    # silent: z is no longer trained, the loss falls all the same.
    class Detached(Encoder):
        def forward(self, x):
            return tuple(one.detach() for one in super().forward(x))

    return Pair(sound_model(decoder_net()), amortised_guide(Detached())), real()


@broken("no-gradient", "warning", "noise")
def parameter_read_as_a_number():
    # a UserWarning of torch ("Converting a tensor with requires_grad=True to a scalar"), once per process.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        noise = pyro.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), float(noise)).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


@broken("no-gradient", "warning", "decoder")
def decoder_under_no_grad():
    # silent: neither the decoder nor the encoder (but by its KL) learns.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            with torch.no_grad():
                loc = decoder(z)
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


@broken("unregistered", "error", "pyro.module", "sequential")
def module_never_registered():
    # silent: the decoder never trains. (Under a PyroModule the module is found without pyro.module.)
    decoder = decoder_net()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()
