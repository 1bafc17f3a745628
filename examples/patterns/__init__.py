"""One numbered, runnable example per pattern: ``python -m examples.patterns.p01_sequence``. Each
runs in a folder of its own."""
