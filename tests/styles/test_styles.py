"""Every style that Pyro's documentation shows, trained and asked: right, or refused as its page says."""

from __future__ import annotations

import pytest

from styles import STYLES
from styles.trial import asked, held, trained

every_style = pytest.mark.parametrize("style", [pytest.param(one, id=name) for name, one in STYLES.items()])


@pytest.mark.trial
@every_style
def test_fit_is_a_plain_loop(style):
    words = style.refused.get("fit", ("",))[0]
    assert list(held("fit", words, lambda: list(trained(style)))) == []


@pytest.mark.trial
@every_style
def test_figures_are_those_by_hand(style, tmp_path):
    assert list(asked(style, tmp_path)) == []
