"""What a pair computes, computed so that every machine, library and number of threads gets the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrovae.errors import PairError, argument
from pyrovae.export.compression import exact_functions, exact_products

# Rounded correctly by every processor, or no computation at all.
_EXACT = frozenset(
    """
    abs add sub rsub mul div neg minimum maximum clamp clamp_min clamp_max relu relu6 hardtanh threshold
    where sign sgn floor ceil round trunc frac fmod remainder isnan isinf isfinite eq ne lt le gt ge logical_not
    logical_and logical_or logical_xor signbit copysign fill zero copy masked_fill view _unsafe_view reshape
    _reshape_alias expand permute transpose t squeeze unsqueeze select slice split split_with_sizes chunk unbind
    cat stack clone contiguous alias detach lift_fresh as_strided flip roll repeat narrow index index_select
    gather index_put masked_select embedding tril triu diagonal constant_pad_nd pad take_along_dim _to_copy to
    view_as_real unfold im2col pixel_shuffle pixel_unshuffle diag_embed empty empty_like empty_strided new_empty
    new_empty_strided zeros zeros_like new_zeros ones ones_like new_ones full full_like new_full arange eye
    scalar_tensor _local_scalar_dense item equal any all nonzero amax amin max min argmax argmin sort topk
    max_pool2d_with_indices max_pool2d upsample_nearest2d upsample_nearest1d nan_to_num searchsorted bucketize
    cummax frexp one_hot expand_as broadcast_to movedim resolve_conj resolve_neg _assert_async is_same_size
    """.split()  # noqa: SIM905 - a list of a hundred lines says less
)

_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "exp": exact_functions.exp,
    "exp2": lambda x: exact_functions.exp(x.double() * 0.6931471805599453),
    "expm1": exact_functions.expm1,
    "log": exact_functions.log,
    "log2": lambda x: exact_functions.log(x) * 1.4426950408889634,
    "log1p": exact_functions.log1p,
    "sigmoid": exact_functions.sigmoid,
    "atan": exact_functions.atan,
    "tanh": exact_functions.tanh,
    "erf": exact_functions.erf,
    "erfc": exact_functions.erfc,
    "special_ndtr": lambda x: exact_functions.normal_tails(x).below,
    "lgamma": exact_functions.lgamma,
    "reciprocal": lambda x: 1 / x.double(),
    "sqrt": exact_functions.sqrt,
    "rsqrt": lambda x: 1 / exact_functions.sqrt(x),
    "logit": lambda x, eps=None: _logit(x, eps),
    "softplus": lambda x, beta=1, threshold=20: exact_functions.softplus(x.double() * beta) / beta,
    "log_sigmoid_forward": lambda x: -exact_functions.softplus(-x.double()),
    "silu": lambda x: x.double() * exact_functions.sigmoid(x),
    "gelu": lambda x, approximate="none": _gelu(x, approximate),
    "elu": lambda x, alpha=1, scale=1, input_scale=1: _elu(x.double(), alpha, scale, input_scale),
    "pow": lambda x, power: _power(x, power),
    "square": lambda x: x.double() * x.double(),
    "leaky_relu": lambda x, slope=0.01: torch.where(x > 0, x.double(), x.double() * slope),
    "addcmul": lambda x, a, b, value=1: x.double() + a.double() * b.double() * value,
    "addcdiv": lambda x, a, b, value=1: x.double() + a.double() / b.double() * value,
    "lerp": lambda x, end, weight: x.double() + (end.double() - x.double()) * weight,
    "mm": exact_products.product,
    "bmm": exact_products.product,
    "mv": lambda a, b: exact_products.product(a, b.unsqueeze(-1)).squeeze(-1),
    "dot": lambda a, b: exact_products.product(a.unsqueeze(0), b.unsqueeze(-1)).reshape(()),
    "addmm": lambda c, a, b, beta=1, alpha=1: _plus(c, exact_products.product(a, b), beta, alpha),
    "baddbmm": lambda c, a, b, beta=1, alpha=1: _plus(c, exact_products.product(a, b), beta, alpha),
    "addmv": lambda c, a, b, beta=1, alpha=1: _plus(
        c, exact_products.product(a, b.unsqueeze(-1)).squeeze(-1), beta, alpha
    ),
    "linear": lambda x, weight, bias=None: _linear(x, weight, bias),
    "convolution": lambda *given: _convolution(*given),
    "sum": lambda x, dim=None, keepdim=False, dtype=None: exact_products.total(x, _dims(dim), keepdim=keepdim),
    "mean": lambda x, dim=None, keepdim=False, dtype=None: _mean(x, _dims(dim), keepdim),
    "var": lambda x, dim=None, unbiased=True, keepdim=False, correction=None: _var(
        x, dim, unbiased, keepdim, correction
    ),
    "std": lambda x, dim=None, unbiased=True, keepdim=False, correction=None: exact_functions.sqrt(
        _var(x, dim, unbiased, keepdim, correction)
    ),
    "cumsum": lambda x, dim, dtype=None: exact_products.running_total(x, dim),
    "avg_pool2d": lambda x, size, stride=(), padding=0, *rest: _avg_pool(x, size, stride or size, padding, *rest),
    "logsumexp": lambda x, dim, keepdim=False: _logsumexp(x.double(), _dims(dim), keepdim),
    "_softmax": lambda x, dim, half=False: exact_functions.exp(_log_softmax(x.double(), dim)),
    "_log_softmax": lambda x, dim, half=False: _log_softmax(x.double(), dim),
}

# Where a result has several parts, or the parts of another number than the arguments.
_FIRST_OF_TWO = {"log_sigmoid_forward"}


def _dims(dim: Any) -> list[int]:
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


def _logit(x: Tensor, eps: float | None) -> Tensor:
    x = x.double() if eps is None else x.double().clamp(eps, 1 - eps)
    return exact_functions.log(x) - exact_functions.log1p(-x)


def _gelu(x: Tensor, approximate: str) -> Tensor:
    x = x.double()
    if approximate == "tanh":
        return 0.5 * x * (1 + exact_functions.tanh(0.7978845608028654 * (x + 0.044715 * (x * x * x))))
    return x * exact_functions.normal_tails(x).below


def _elu(x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    return torch.where(x > 0, x * scale, exact_functions.expm1(x * input_scale) * (alpha * scale))


def _power(x: Any, power: Any) -> Tensor:
    if isinstance(power, int | float) and power in (0, 1, 2, 3, 4, -1, -2, 0.5, -0.5):
        root = exact_functions.sqrt(x) if power in (0.5, -0.5) else x.double()
        found = torch.ones_like(root)
        for _ in range(max(1, abs(int(power))) if power else 0):
            found = found * root
        return 1 / found if power < 0 else found
    base = torch.as_tensor(x, dtype=torch.float64)
    size = exact_functions.exp(exact_functions.log(base.abs()) * power)
    odd = torch.as_tensor(power, dtype=torch.float64).remainder(2) == 1
    return torch.where((base < 0) & odd, -size, size)


def _plus(c: Tensor, product: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """c + product, rounded twice: torch makes one operation of it for some shapes, two for others."""
    product = product.to(c.dtype)
    return (c if beta == 1 else c * beta) + (product if alpha == 1 else product * alpha)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found = exact_products.product(x, weight.mT)
    return found if bias is None else _plus(bias, found)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    found = exact_products.convolution(x, weight, *how)
    return found if bias is None else _plus(bias.reshape(-1, *[1] * (x.dim() - 2)), found)


def _mean(x: Tensor, dims: Sequence[int], keepdim: bool) -> Tensor:
    found = exact_products.total(x, dims, keepdim=keepdim)
    return found / max(1, x.numel() // max(1, found.numel()))


def _var(x: Tensor, dim: Any, unbiased: bool, keepdim: bool, correction: float | None) -> Tensor:
    if isinstance(dim, bool):  # aten.var(x, unbiased), over all
        dim, unbiased = None, dim
    less = (1 if unbiased else 0) if correction is None else correction
    apart = x.double() - _mean(x, _dims(dim), keepdim=True)
    found = exact_products.total(apart * apart, _dims(dim), keepdim=keepdim)
    return found / max(0, x.numel() // max(1, found.numel()) - less)


def _avg_pool(x: Tensor, size: Any, stride: Any, padding: Any, *rest: Any) -> Tensor:
    if any(tree_leaves(padding)) or any(rest):
        raise PairError(
            f"{argument('portable', True)}: average pooling with padding has no exact form here; pool without it, or "
            f"use {argument('portable', False)}."
        )
    size, stride = ((one, one) if isinstance(one, int) else (one[0], one[-1]) for one in (size, stride))
    return _mean(x.unfold(-2, size[0], stride[0]).unfold(-2, size[1], stride[1]), (-2, -1), keepdim=False)


def _logsumexp(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    largest = x.amax(dims, keepdim=True)
    held = torch.where(largest.isfinite(), largest, 0.0)
    found = held + exact_functions.log(exact_products.total(exact_functions.exp(x - held), dims, keepdim=True))
    return found if keepdim else found.squeeze(tuple(dims))


def _log_softmax(x: Tensor, dim: int) -> Tensor:
    return x - _logsumexp(x, [dim], keepdim=True)


class ExactArithmetic(TorchDispatchMode):
    """Inside, operations of torch give the same bits on every machine.

    Products and sums are of whole numbers in double precision, exact in any order below 2^53; exp, log and their like
    are tables, sums and products; what no processor rounds differently is left as it is. Results have the types that
    torch gives them.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler at the first operation, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Each operation, in its exact form."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        plain = name.removesuffix("_") if not name.startswith("_") else name
        floating = [leaf for leaf in tree_leaves((args, kwargs)) if _is_floating(leaf)]
        if plain in ("div", "add", "sub", "rsub") and ("alpha" in kwargs or "rounding_mode" in kwargs):
            return self._in_steps(func, plain, args, kwargs)
        if plain in _FUNCTIONS and (floating or plain in ("exp", "log", "sigmoid", "pow", "mean", "erf")):
            return self._computed(func, plain, name, args, kwargs)
        if plain == "var_mean":
            var, mean = (torch.ops.aten.var, torch.ops.aten.mean)
            keep = kwargs.get("keepdim", args[3] if len(args) > 3 else False)
            with self:
                return var(*args, **kwargs), mean(args[0], args[1] if len(args) > 1 else None, keep)
        if plain in _EXACT or (not floating and not _draws(func)):
            return func(*args, **kwargs)
        return self._decomposed(func, plain, args, kwargs)

    def _in_steps(self, func: Any, plain: str, args: tuple, kwargs: dict) -> Any:
        """a + alpha b as a product and a sum: at once it is rounded once on one machine, twice on the next."""
        alpha = kwargs.get("alpha", 1)
        if plain == "div" or alpha == 1:
            return func(*args, **kwargs)
        rest = {key: value for key, value in kwargs.items() if key != "alpha"}
        first, second = args
        return func(first * alpha, second, **rest) if plain == "rsub" else func(first, second * alpha, **rest)

    def _computed(self, func: Any, plain: str, name: str, args: tuple, kwargs: dict) -> Any:
        dtype = kwargs.get("dtype") or _dtype(args)
        out = kwargs.pop("out", None)
        found = _FUNCTIONS[plain](*args, **{k: v for k, v in kwargs.items() if k != "half_to_float"}).to(dtype)
        if out is not None:
            return out.copy_(found)
        if plain in _FIRST_OF_TWO:
            return found, found.new_empty(0)
        return args[0].copy_(found) if name != plain else found

    def _decomposed(self, func: Any, plain: str, args: tuple, kwargs: dict) -> Any:
        table = _decompositions()
        if func in table and not _draws(func):
            with self:
                return table[func](*args, **kwargs)
        with self:
            found = NotImplemented if _draws(func) else func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
        words = "draws random numbers outside of its sites" if _draws(func) else "has no exact form here"
        raise PairError(
            f"{argument('portable', True)}: the pair uses torch's {plain!r}, which {words}, so that another machine "
            f"may not decode what this one codes. Use another operation, or {argument('portable', False)}, whose files "
            "are read again on this machine with this torch."
        )


def _draws(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _dtype(args: tuple) -> torch.dtype:
    tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    found = tensors[0].dtype
    for tensor in tensors[1:]:
        found = torch.promote_types(found, tensor.dtype) if tensor.dim() or not found.is_floating_point else found
    return found if found.is_floating_point else torch.get_default_dtype()


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    from torch._decomp import decomposition_table

    return decomposition_table


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """`ExactArithmetic`, and torch's own short cuts past it closed: they are one operation each, with sums inside."""
    fast, library = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), ExactArithmetic():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(library)
