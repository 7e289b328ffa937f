"""`python -m r2talker` is the `r2talker` command."""

from r2talker.cli.main import main

if __name__ == "__main__":
    main()
