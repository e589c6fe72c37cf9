"""The command ``poh_holdmetrics`` (also ``python -m poh_holdmetrics``)."""

from poh_holdmetrics.command import main

if __name__ == "__main__":
    main()
