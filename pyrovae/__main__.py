"""`python -m pyrovae` is `pyrovae`."""

from __future__ import annotations

from pyrovae.cli.main import main

if __name__ == "__main__":
    main()
