"""asyncq and the Go original on one Redis, in processes of both languages."""
