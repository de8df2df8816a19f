"""Networks: shapes of every kind, leading dims, odd sizes, words for what is wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyrovae as pv

EVENTS = [1, 5, (), (3,), (4, 3), (2, 3, 4)]


def as_shape(event):
    return (event,) if isinstance(event, int) else event


@pytest.mark.parametrize("hidden", [[], [8], [8, 4]], ids=str)
@pytest.mark.parametrize("output", EVENTS, ids=str)
@pytest.mark.parametrize("input", EVENTS, ids=str)
def test_mlp_shapes(input, hidden, output):
    network = pv.MLP(input, hidden, output)
    for leading in ((), (6,), (2, 1, 6), (0,)):
        assert network(torch.randn((*leading, *as_shape(input)))).shape == (*leading, *as_shape(output))
    assert (network.input_dims, network.output_shape) == (len(as_shape(input)), as_shape(output))
    assert len([m for m in network.modules() if isinstance(m, nn.ReLU)]) == len(hidden)


@pytest.mark.parametrize(
    "network",
    [
        pv.MLP((2, 3, 5), [8], (3, 2)),
        pv.ConvEncoder((2, 3, 5), (3, 2), channels=(4, 8)),
        pv.ConvDecoder((2, 3, 5), (2, 5, 3), channels=(8, 4)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_rows_are_independent_of_leading_dims(network):
    """The same rows in another arrangement of leading dims give the same numbers; each parameter has a gradient."""
    x = torch.randn(4, 3, 2, 3, 5)
    expected = torch.stack([network(row) for row in x.flatten(0, 1)]).unflatten(0, (4, 3))
    assert torch.allclose(network(x), expected, atol=1e-5)
    assert network.double()(x.double()).dtype == torch.float64
    network(x.double()).square().sum().backward()
    assert all(p.grad.any() for p in network.parameters())


def test_mlp_without_hidden_is_affine():
    network = pv.MLP(3, [], 2)
    a, b = torch.randn(3), torch.randn(3)
    assert torch.allclose(network(a) + network(b), network(a + b) + network(torch.zeros(3)), atol=1e-6)


def test_activation_is_a_class():
    assert sum(isinstance(m, nn.Tanh) for m in pv.MLP(3, [4, 4], 2, activation=nn.Tanh).modules()) == 2


def test_several_inputs_broadcast():
    network = pv.MLP([(2, 3), 4], [8], 5)
    z, c = torch.randn(7, 1, 2, 3), torch.randn(6, 4)
    output = network(z, c)
    assert output.shape == (7, 6, 5)
    flat = torch.cat([z.expand(7, 6, 2, 3).flatten(-2), c.expand(7, 6, 4)], -1)
    assert torch.equal(output, network.layers(flat))


def test_integers_and_booleans_are_read_as_numbers():
    network = pv.MLP(3, [], 2)
    x = torch.tensor([[0, 1, 1]])
    for dtype in (torch.uint8, torch.long, torch.bool):
        assert torch.equal(network(x.to(dtype)), network(x.float()))


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.lists(st.sampled_from([1, 2, 5, 8]), max_size=3))
def test_convolutions_of_any_size(height, width, depth, channels):
    """Single pixels, odd sizes, one channel, no level at all: out comes what was asked for."""
    torch.manual_seed(0)
    encoder = pv.ConvEncoder((depth, height, width), (2, 3), channels=channels)
    decoder = pv.ConvDecoder((2, 3), (2 * depth, height, width), channels=channels[::-1])
    x = torch.randn(2, 1, depth, height, width)
    code = encoder(x)
    image = decoder(code)
    assert code.shape == (2, 1, 2, 3)
    assert image.shape == (2, 1, 2 * depth, height, width)
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("channels", [[8], [1], [4, 1], []], ids=str)
def test_a_single_pixel_gets_through(channels):
    """No group of the normalisation is one number, which it would turn into nothing."""
    code = pv.ConvEncoder((3, 1, 1), 4, channels=channels)(torch.randn(2, 3, 1, 1))
    assert not torch.allclose(code[0], code[1], atol=1e-3)


def test_a_convolution_sees_no_other_row():
    """Group normalisation, unlike batch normalisation, leaves rows alone, in train mode too."""
    encoder = pv.ConvEncoder((1, 8, 8), 3).train()
    x = torch.randn(5, 1, 8, 8)
    assert torch.allclose(encoder(x)[:2], encoder(x[:2]), atol=1e-5)


def test_conv_encoder_with_a_condition():
    encoder = pv.ConvEncoder([(1, 8, 8), 10], 4, channels=(4,))
    x, c = torch.randn(3, 1, 8, 8), torch.eye(10)[:3]
    assert encoder(x, c).shape == (3, 4)
    assert not torch.equal(encoder(x, c), encoder(x, c.flip(0)))
    assert encoder(x.expand(2, 3, 1, 8, 8), c).shape == (2, 3, 4)


def test_conv_decoder_with_a_condition():
    decoder = pv.ConvDecoder([2, 10], (1, 7, 7), channels=(4,))
    assert decoder(torch.randn(6, 3, 2), torch.eye(10)[:3]).shape == (6, 3, 1, 7, 7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.MLP(0, [], 2), "input=0"),
        (lambda: pv.MLP(-3, [], 2), "input=-3"),
        (lambda: pv.MLP(True, [], 2), "input=True"),
        (lambda: pv.MLP("3", [], 2), "input='3'"),
        (lambda: pv.MLP(3, [], 2.0), "output=2.0"),
        (lambda: pv.MLP(3, [], [2]), "only on the input side"),
        (lambda: pv.MLP([], [], 2), "declares no input"),
        (lambda: pv.MLP(3, 8, 2), "hidden=8"),
        (lambda: pv.MLP(3, [0], 2), r"hidden=\[0\]"),
        (lambda: pv.MLP(3, [], 2)(torch.zeros(5, 4)), r"last dims are \(3,\), got a tensor of shape \(5, 4\)"),
        (lambda: pv.MLP((2, 3), [], 2)(torch.zeros(3)), r"last dims are \(2, 3\)"),
        (lambda: pv.MLP([3, 2], [], 2)(torch.zeros(3)), "takes 2 input"),
        (lambda: pv.MLP(3, [], 2)(torch.zeros(3), torch.zeros(2)), "takes 1 input"),
        (lambda: pv.ConvEncoder((28, 28), 2), r"input=\(28, 28\)"),
        (lambda: pv.ConvDecoder(2, (28, 28)), r"output=\(28, 28\)"),
        (lambda: pv.ConvDecoder(2, (1, 8, 8), channels=4), "channels=4"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()
