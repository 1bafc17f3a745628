"""The page and the REST API: served by ``holdfast serve``, on loopback unless told otherwise. The
web framework enters only here."""
