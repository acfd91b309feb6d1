"""`python -m onekey` is `onekey`."""

from onekey.cli import main

main()
