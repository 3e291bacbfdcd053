"""What tests of several packages share: accounts, waiting, tools that may be missing."""
