"""The claims example: seven steps from a scanned or digital document to a validated record, with
real models on the CPU."""
