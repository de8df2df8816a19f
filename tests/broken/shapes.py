"""Event dims, batch dims and other shapes that are wrong."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from registry import LATENT, WIDTH, Encoder, amortised_guide, binary, decoder_net, real, standard_normal
from torch import nn

from broken.entries import BATCH, broken, sound_model, vae
from pyrovae.pairs.pair import Pair

# Event dims.


@broken("to-event", "error", "x", "to_event")
def likelihood_without_to_event():
    # ValueError "Shape mismatch inside plate('data') at site x dim -1, 8 vs 12": to_event is not mentioned.
    return vae(lambda out: dist.Bernoulli(logits=out), binary())


@broken("shape", "error", "", "'k' is summed out", "not at one value", "then it runs both ways")
def latents_repeated_for_each_class():
    # Trains under TraceEnum_ELBO, which gives all classes at once; at one drawn class the rows do not match.
    decoder, encoder = decoder_net(LATENT + 3), Encoder()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            k = pyro.sample("k", dist.OneHotCategorical(x.new_ones(len(x), 3) / 3))
            out = decoder(torch.cat([z.repeat(3, 1), k.reshape(-1, 3)], -1)).reshape(*k.shape[:-1], WIDTH)
            pyro.sample("x", dist.Bernoulli(logits=out).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))
            classes = dist.OneHotCategorical(x.new_ones(len(x), 3) / 3)
            pyro.sample("k", classes, infer={"enumerate": "parallel", "expand": True})

    return Pair(model, guide), binary()


@broken("to-event", "error", "x", "to_event")
def likelihood_without_to_event_square():
    # 8 rows and 8 columns pass the plate; then ValueError "invalid log_prob shape, Expected [8], actual [8, 8]",
    # only with validation on. Without it Trace_ELBO's sum is right all the same.
    decoder = decoder_net(outputs=BATCH)
    model = sound_model(decoder, lambda out: dist.Bernoulli(logits=out))
    return Pair(model, amortised_guide(Encoder(BATCH))), binary(BATCH)


@broken("to-event", "error", "z", "to_event")
def latent_without_to_event():
    # ValueError "Shape mismatch inside plate('data') at site z dim -1, 8 vs 2", from the guide.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(model, guide), real()


@broken("to-event", "error", "z", "to_event", "guide")
def guide_alone_without_to_event():
    # the same ValueError, before the model has run.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("to-event", "error", "x", "to_event(3)")
def images_with_one_event_dim_too_few():
    # batch (8, 1) is broadcast to (8, 8) by the plate; ValueError "invalid log_prob shape, Expected [8], actual
    # [8, 8]", only with validation on. Without it every row counts 8 times.
    decoder = nn.Sequential(decoder_net(outputs=16), nn.Unflatten(-1, (1, 4, 4)))
    model = sound_model(decoder, lambda out: dist.Bernoulli(logits=out).to_event(2))

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Encoder(16)

        def forward(self, x):
            return self.net(x.flatten(-3))

    return Pair(model, amortised_guide(Flat())), binary(1, 4, 4)


@broken("to-event", "error", "x", "to_event", "data")
def to_event_swallows_the_batch():
    # silent. Batch () is expanded by the plate to (8,): the log-probability of the whole batch counts 8 times.
    return vae(lambda out: dist.Normal(out, 0.5).to_event(2), real())


@broken("to-event", "error", "z", "to_event")
def latent_swallows_the_batch():
    # silent, and the loss is right; but z stands outside the plate, so it looks global and follows the batch.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(2))

    return Pair(model, guide), real()


# Batch dims.


@broken("batch-outside-plate", "error", "plate", "z")
def no_plate_at_all():
    # ValueError "at site "z", invalid log_prob shape, Expected [], actual [8]", only with validation on. Without it
    # the loss is right.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()


@broken("batch-outside-plate", "error", "plate", "x")
def observation_outside_the_plate():
    # ValueError "at site "x", invalid log_prob shape, Expected [], actual [8]", only with validation on.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@broken("batch-outside-plate", "error", "plate", "z", "guide")
def guide_without_plate():
    # ValueError as above at "z", from the guide.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("shape", "error", "y")
def column_against_vector():
    # net(c) is (8, 1), y is (8,): the plate broadcasts to (8, 8), then ValueError "invalid log_prob shape,
    # Expected [8], actual [8, 8]", only with validation on. Without it: trains on the outer product.
    net = nn.Linear(WIDTH, 1)

    def model(c, y):
        pyro.module("net", net)
        with pyro.plate("data", len(c)):
            pyro.sample("y", dist.Normal(net(c), 1.0), obs=y)

    def guide(c, y):
        pass

    return Pair(model, guide), (real(), real()[:, 0])


# Shapes.


@broken("shape", "error", "12", "10")
def wrong_number_of_columns():
    # RuntimeError "mat1 and mat2 shapes cannot be multiplied (8x10 and 12x16)", no site name.
    return vae(lambda out: dist.Normal(out, 0.5).to_event(1), real(10))


@broken("shape", "error", "x", "1", "12")
def likelihood_of_one_column():
    # silent: one mean is broadcast over the 12 columns (event shape [1], validation lets it pass).
    return Pair(sound_model(decoder_net(outputs=1)), amortised_guide(Encoder())), real()


@broken("shape", "error", "z", "1", "2")
def latent_of_one_column_in_the_guide():
    # ValueError "Model and guide shapes disagree at site 'z': [8, 2] vs [8, 1]"; without validation log p(z) is
    # broadcast, silently.
    return Pair(sound_model(decoder_net(latent=1)), amortised_guide(Encoder(latent=1))), real()


@broken("shape", "error", "z", "2", "3")
def latent_sizes_differ():
    # ValueError "... [8, 2] vs [8, 3]".
    return Pair(sound_model(decoder_net(latent=3)), amortised_guide(Encoder(latent=3))), real()


@broken("shape", "error", "8", "7")
def arguments_of_unequal_length():
    # RuntimeError "Sizes of tensors must match except in dimension 1. Expected size 8 but got size 7".
    decoder, encoder = decoder_net(LATENT + WIDTH), Encoder()

    def model(x, c):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, c], -1)), 0.5).to_event(1), obs=x)

    def guide(x, c):
        amortised_guide(encoder)(x)

    return Pair(model, guide), [real()[:BATCH], real()[: BATCH - 1]]
