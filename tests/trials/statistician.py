"""The statistician: two models of her own for pupils in schools, compared, checked, predicted from and exported.

Run in an empty folder: `python statistician.py`.
"""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyrovae as pv

SCHOOLS, PUPILS = 8, 240


def simulated() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    effect = 5 + 1.5 * torch.randn(SCHOOLS, generator=generator)
    school = torch.arange(PUPILS) % SCHOOLS
    return effect[school] + 0.7 * torch.randn(PUPILS, generator=generator), school


def pooled(marks, school):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    noise = pyro.sample("noise", dist.HalfNormal(5.0))
    with pyro.plate("pupils", PUPILS, subsample_size=len(marks)):
        pyro.sample("marks", dist.Normal(mean, noise), obs=marks)


def by_school(marks, school):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    between = pyro.sample("between", dist.HalfNormal(5.0))
    noise = pyro.sample("noise", dist.HalfNormal(5.0))
    with pyro.plate("schools", SCHOOLS):
        effect = pyro.sample("effect", dist.Normal(mean, between))
    with pyro.plate("pupils", PUPILS, subsample_size=len(marks)):
        pyro.sample("marks", dist.Normal(effect[..., school], noise), obs=marks)


def main() -> None:
    marks, school = simulated()
    pairs = {
        "pooled": pv.own_store(pv.Pair(pooled, AutoNormal(pooled))),
        "by school": pv.own_store(pv.Pair(by_school, AutoMultivariateNormal(by_school))),
    }
    for pair in pairs.values():
        pv.check_pair(pair, marks, school)
        pv.fit(pair, (marks, school), steps=800, learning_rate=0.03, seed=0, progress=False)

    compared = pv.compare(pairs, marks, school, draws=200)
    print(compared)
    assert compared.names[0] == "by school"
    assert float(compared.behind[1]) > 2 * float(compared.behind_error[1])

    hierarchy = pairs["by school"]
    spread = {"between schools": lambda x: torch.stack([x[school == one].mean() for one in range(SCHOOLS)]).std()}
    assert float(pv.predictive_check(pairs["pooled"], marks, school, statistics=spread)["marks"].chance) < 0.01
    assert float(pv.predictive_check(hierarchy, marks, school, statistics=spread)["marks"].chance) > 0.05
    left_out = pv.loo_pit(hierarchy, marks, school, draws=200)["marks"]
    print(left_out.verdict)
    assert not bool(left_out.pit.outside)

    same = pv.generate(hierarchy, marks[:8], school[:8], draws=300, seed=0)["marks"]
    other = pv.generate(hierarchy, marks[:8], school[:8], draws=300, new="schools", seed=0)["marks"]
    assert bool((other.std(0) > 1.3 * same.std(0)).all())  # of a school never seen less is known

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ 0.x is not kept in step with pandas and matplotlib
        import arviz

        pv.to_arviz(hierarchy, marks, school, draws=200, out="schools.nc")
        summary = arviz.summary(arviz.from_netcdf("schools.nc"), var_names=["between", "noise"])
    print(summary)
    assert 0.6 < summary.loc["noise", "mean"] < 0.8


if __name__ == "__main__":
    main()
