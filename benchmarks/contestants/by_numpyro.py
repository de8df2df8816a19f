"""The VAE in NumPyro, an epoch at a time under `lax.scan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from contestants.cases import PIXELS, Case, Epoch


def training(case: Case, x: Tensor) -> Epoch:
    """`SVI.update` over the shuffled batches of an epoch, jitted as one."""
    import jax
    import jax.numpy as jnp
    import numpyro
    from jax import lax
    from numpyro.infer import SVI, Trace_ELBO

    model, guide = _pair(case)
    svi = SVI(model, guide, numpyro.optim.Adam(case.learning_rate), Trace_ELBO())
    data = jnp.asarray(np.asarray(x.cpu()))
    batches = len(x) // case.batch  # a last, smaller one would need a graph of its own
    state = svi.init(jax.random.PRNGKey(0), data[: case.batch])

    @jax.jit
    def whole(state: Any, key: Any) -> Any:
        order = jax.random.permutation(key, len(x))[: batches * case.batch].reshape(batches, case.batch)
        return lax.scan(lambda held, rows: svi.update(held, data[rows]), state, order)

    held, count = [state], [0]

    def epoch() -> float:
        count[0] += 1
        held[0], losses = whole(held[0], jax.random.PRNGKey(count[0]))
        return float(losses.mean()) / case.batch

    return epoch


def _pair(case: Case) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.example_libraries import stax

    encoder = stax.serial(stax.Dense(case.hidden), stax.Relu, stax.Dense(2 * case.latent))
    decoder = stax.serial(stax.Dense(case.hidden), stax.Relu, stax.Dense(PIXELS))

    def model(x: Any) -> None:
        decode = numpyro.module("decoder", decoder, (case.batch, case.latent))
        with numpyro.plate("data", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(case.latent), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        encode = numpyro.module("encoder", encoder, (case.batch, PIXELS))
        loc, log_scale = jnp.split(encode(x), 2, -1)
        with numpyro.plate("data", x.shape[0]):
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return model, guide
