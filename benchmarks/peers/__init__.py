"""The servers that are measured beside ours, each as its users would write it: ``python -m benchmarks.peers.NAME``."""
