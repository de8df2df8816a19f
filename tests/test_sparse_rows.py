"""Sparse matrices of SciPy as data: the same figures as dense ones, and never dense as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

import pyrovae as pv
from pyrovae.data.batches import as_batches


def matrix(dtype=np.float32, rows=300):
    return scipy.sparse.random(rows, 40, 0.1, random_state=0, dtype=dtype)


def vae():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 40), scale=1.0), pv.DiagNormal(pv.MLP(40, [8], 4)))


@pytest.mark.parametrize("form", ["csr_matrix", "coo_array"])
def test_training_and_questions_are_those_of_dense_rows(form):
    x = getattr(scipy.sparse, form)(matrix(np.float64))
    figures = []
    for data in (x, torch.from_numpy(x.toarray())):
        pair = vae()
        run = pv.fit(pair, data, epochs=2, batch_size=64, validation=data, seed=0, staged=False, progress=False)
        evidence = pv.log_evidence(pair, data, draws=5).value
        last = run.history[-1]
        figures.append(torch.cat([evidence, torch.tensor([last.loss, last.validation_elbo])]))
    assert torch.allclose(figures[0], figures[1], rtol=1e-6)


def test_the_whole_is_never_dense(monkeypatch):
    x, made = scipy.sparse.csr_matrix(matrix(rows=20_000)), []
    as_dense = scipy.sparse.csr_matrix.toarray
    monkeypatch.setattr(scipy.sparse.csr_matrix, "toarray", lambda part: made.append(part.shape[0]) or as_dense(part))
    pv.fit(vae(), x, epochs=1, batch_size=500, validation=x, seed=0, staged=False, progress=False)
    assert sum(made) >= 40_000

    assert max(made) <= 2_000


def test_beside_other_arrays_by_place_and_by_name():
    x, labels = matrix().tocsr(), torch.arange(300)
    rows = torch.tensor([7, 3, 250])
    by_place, by_name = as_batches((x, labels)).take(rows), as_batches({"x": x, "y": labels}).take(rows)
    for one, other in (by_place.args, tuple(by_name.kwargs.values())):
        assert torch.equal(one, torch.from_numpy(x[rows.numpy()].toarray()))
        assert torch.equal(other, rows)


def test_a_check_finds_of_sparse_rows_what_it_finds_of_dense_ones():
    x, torch_rows = matrix().tocsr(), torch.from_numpy(matrix().toarray())
    assert pv.check_pair(vae(), x[:8]) == pv.check_pair(vae(), torch_rows[:8]) == ()
    with pytest.raises(pv.ArgumentError, match=r"of shape \(8, 5\)"):
        pv.check_pair(vae(), x[:8, :5])
    holed = x[:8].copy()
    holed.data[0] = np.nan
    with pytest.raises(pv.DataError, match="'x' is a sparse matrix that holds NaN"):
        pv.check_pair(vae(), holed)


def test_what_is_no_data_is_refused():
    holed = matrix().tocsr()
    holed.data[3] = np.nan
    for data, words in (
        (holed, "argument 0 is a sparse matrix that holds NaN"),
        ((matrix(), torch.ones(7)), "argument 0 has 300, argument 1 has 7"),
        (scipy.sparse.csr_matrix((0, 4)), "one row at least"),
        (scipy.sparse.csr_matrix(np.eye(3, dtype=complex)), "complex128; give numbers"),
    ):
        with pytest.raises(pv.DataError, match=words):
            as_batches(data)
