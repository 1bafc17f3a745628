"""Combinators, a file each: they take callables and give a callable, so they nest, and nothing runs
before they decide."""
