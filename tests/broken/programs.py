"""Signatures that do not match, and randomness that is none."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from registry import Encoder, amortised_guide, decoder_net, labels, real

from broken.entries import broken, sound_model, vae
from pyrovae.pairs.pair import Pair

# Signatures.


@broken("signature", "error", "guide", "c")
def guide_takes_less():
    # TypeError "guide() takes 1 positional argument but 2 were given".
    model = sound_model(decoder_net())
    return Pair(lambda x, c: model(x), amortised_guide(Encoder())), (real(), labels(3))


@broken("signature", "error", "model", "c")
def model_takes_less():
    # TypeError as above; the guide has run by then.
    guide = amortised_guide(Encoder())
    return Pair(sound_model(decoder_net()), lambda x, c: guide(x)), (real(), labels(3))


@broken("signature", "error", "guide", "model", "order")
def arguments_in_another_order():
    # both are 12 wide: silent, the guide encodes c.
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())
    return Pair(lambda x, c: model(x), lambda c, x: guide(x)), (real(), real().flip(0))


@broken("signature", "error", "guide", "image")
def keywords_differ():
    # TypeError "got an unexpected keyword argument 'image'".
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())
    return Pair(lambda image: model(image), lambda x: guide(x)), {"image": real()}


@broken("signature", "error", "model", "2")
def more_data_than_arguments():
    # TypeError "takes 1 positional argument but 2 were given".
    pair, x = vae(lambda out: dist.Normal(out, 0.5).to_event(1), real())
    return pair, (x, labels(3))


# Randomness.


@broken("fixed-seed", "warning", "seed")
def seed_inside_the_model():
    # silent: the same draw in every step.
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())

    def seeded(x):
        pyro.set_rng_seed(0)
        guide(x)

    return Pair(model, seeded), real()
