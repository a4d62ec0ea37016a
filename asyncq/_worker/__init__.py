"""The coroutines of a running server, one file each."""
