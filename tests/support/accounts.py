"""Accounts as they go over the wire."""

KEYS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
"""The example keys of AWS' documentation."""

ACCOUNT = {"id": "my-account", **KEYS, "region": "us-east-1"}
"""The account in the specification's examples."""
