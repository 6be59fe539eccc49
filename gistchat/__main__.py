"""`python -m gistchat`, and so `torchrun ... -m gistchat`."""

from gistchat.cli import main

if __name__ == "__main__":
    main()
