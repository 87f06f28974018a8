"""``python -m pydsr`` is the command ``pydsr``."""

from pydsr.cli.main import main

if __name__ == "__main__":
    main()
