"""Whether a model or a handler may look at values."""

from __future__ import annotations

from torch.fx.experimental.proxy_tensor import get_proxy_mode


def may_read() -> bool:
    """Whether values may be looked at now: not while a graph is traced, whose data were looked at when they came in."""
    return get_proxy_mode() is None
