"""Topic models: documents as counts of words, rows first and last."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import nn

from styles.autoencoders import Coder
from styles.style import BOTH, FUNCTIONS, Made, style

WORDS, TOPICS = 6, 3


class ProdLDA(nn.Module):
    """As in the tutorial: a softmax of normals, a decoder with batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.beta, self.batch_norm = nn.Linear(TOPICS, WORDS, bias=False), nn.BatchNorm1d(WORDS, affine=False)
        self.drop, self.encoder = nn.Dropout(0.2), Coder(WORDS, TOPICS, 2)

    def model(self, docs):
        pyro.module("decoder", self)
        with pyro.plate("documents", docs.shape[0]):
            logtheta = docs.new_zeros((docs.shape[0], TOPICS))
            logtheta = pyro.sample("logtheta", dist.Normal(logtheta, 1.0).to_event(1))
            words = torch.softmax(self.batch_norm(self.beta(self.drop(torch.softmax(logtheta, -1)))), -1)
            total = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total, words), obs=docs)

    def guide(self, docs):
        with pyro.plate("documents", docs.shape[0]):
            loc, log_scale = self.encoder(docs)
            pyro.sample("logtheta", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("ProdLDA", plate="documents", batch=6)
def prod_lda():
    net = ProdLDA()
    return Made(net, (torch.poisson(torch.rand(12, WORDS) * 3),), (net,))


class CategoricalBag(dist.Multinomial):
    """Words of a document without their order, whatever total was said when it was made."""

    def log_prob(self, value):
        logits, value = torch.broadcast_tensors(self.logits, value)
        return (logits * value).sum(-1)


class AmortizedLDA(PyroModule):
    """After scvi-tools: topics that all cells share, shares of each cell; the number of all cells in its plate."""

    def __init__(self, cells):
        super().__init__()
        self.cells, self.encoder = cells, nn.Linear(WORDS, 2 * TOPICS)
        self.topics_loc = PyroParam(0.1 * torch.randn(TOPICS, WORDS))
        self.topics_scale = PyroParam(torch.full((TOPICS, WORDS), 0.5), constraint=dist.constraints.positive)

    def plate(self, counts):
        return pyro.plate("cells", size=self.cells, subsample_size=len(counts))

    def model(self, counts, library):
        with pyro.plate("topics", TOPICS):
            logits = pyro.sample("topic_logits", dist.Normal(torch.zeros(WORDS), 1.2).to_event(1))
            words = pyro.deterministic("words_of_topics", logits.softmax(-1), event_dim=1)
        with self.plate(counts):
            shares = pyro.sample("shares", dist.Normal(torch.zeros(TOPICS), 1.2).to_event(1))
            bag = CategoricalBag(int(library.max()), probs=shares.softmax(-1) @ words)
            pyro.sample("counts", bag, obs=counts)

    def guide(self, counts, library):
        with pyro.plate("topics", TOPICS):
            pyro.sample("topic_logits", dist.Normal(self.topics_loc, self.topics_scale).to_event(1))
        pyro.module("encoder", self.encoder)
        loc, log_scale = self.encoder(counts.log1p()).chunk(2, -1)
        with self.plate(counts):
            pyro.sample("shares", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("AmortizedLDA of scvi-tools", plate="cells", batch=4, loss=TraceMeanField_ELBO, grid=BOTH)
def amortized_lda():
    counts = torch.poisson(torch.rand(12, WORDS) * 3) + 1
    return Made(AmortizedLDA(len(counts)), (counts, counts.sum(1)))


class LDA(nn.Module):
    """After the example: words of documents, whose topics are summed out."""

    def __init__(self, *, last: bool):
        super().__init__()
        self.last, self.predictor = last, nn.Linear(WORDS, TOPICS)

    def plates(self, data):
        words, documents = data.shape if self.last else data.shape[::-1]
        return pyro.plate("documents", documents), words

    def model(self, data):
        with pyro.plate("topics", TOPICS):
            weights = pyro.sample("topic_weights", dist.Gamma(1.0 / TOPICS, 1.0))
            topics = pyro.sample("topic_words", dist.Dirichlet(torch.ones(WORDS) / WORDS))
        documents, words = self.plates(data)
        with documents:
            shares = pyro.sample("doc_topics", dist.Dirichlet(weights))
            with pyro.plate("words", words):
                topic = pyro.sample("word_topics", dist.Categorical(shares), infer={"enumerate": "parallel"})
                pyro.sample("doc_words", dist.Categorical(topics[topic]), obs=data if self.last else data.T)

    def guide(self, data):
        pyro.module("predictor", self.predictor)
        weights = pyro.param("weight_rates", torch.ones(TOPICS), constraint=dist.constraints.positive)
        topics = pyro.param("topic_rates", torch.rand(TOPICS, WORDS) + 0.5, constraint=dist.constraints.positive)
        with pyro.plate("topics", TOPICS):
            pyro.sample("topic_weights", dist.LogNormal(weights.log(), 0.1))
            pyro.sample("topic_words", dist.Dirichlet(topics))
        counts = torch.nn.functional.one_hot(data if not self.last else data.T, WORDS).sum(-2).float()
        with self.plates(data)[0]:
            pyro.sample("doc_topics", dist.Dirichlet(self.predictor(counts).exp() + 0.1))


def corpus():
    return torch.randint(WORDS, (4, 3))


SUMMED = {
    "nesting": 2,
    "enumerates": True,
    "loss": lambda: TraceEnum_ELBO(max_plate_nesting=2),
    "draws": 15,
    "grid": BOTH,
}


@style("LDA", plate="documents", **SUMMED)
def lda():
    return Made(LDA(last=False), (corpus(),))


@style("LDA, documents last: rows are words", plate="words", **SUMMED)
def lda_documents_last():
    return Made(LDA(last=True), (corpus().T,))


LAST = ("Rows come first", "rows come first in pyrovae's data; documents that stand along another dimension are none")


@style(
    "LDA, documents last and named as the rows",
    plate="documents",
    say_plate=True,
    refused={name: LAST for name in ("fit", *FUNCTIONS) if name != "save and load"},
    steps=2,
    **{**SUMMED, "draws": 2},
)
def lda_documents_named():
    return Made(LDA(last=True), (corpus().T,))
