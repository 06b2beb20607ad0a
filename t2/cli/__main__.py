"""`python -m t2.cli`, which is `t2`."""

from t2.cli import main

if __name__ == "__main__":
    main()
