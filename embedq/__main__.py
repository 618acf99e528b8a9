"""`python -m embedq`: the command line."""

from __future__ import annotations

from embedq.cli import main

if __name__ == "__main__":
    main()
