"""`python -m labchannel`."""

from labchannel.cli import main

main()
