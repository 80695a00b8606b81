"""`python -m mam` is the same program as `mam` (for torchrun)."""

from mam.cli import main

if __name__ == "__main__":
    main()
