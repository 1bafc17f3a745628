"""The core: what one event makes of one item, as a pure function.

:func:`holdfast.core.apply.apply` takes the item as it is in memory and one event, changes the item,
and returns a :class:`holdfast.core.plan.Plan`: the rows to write, the tasks that are ready, the
attempts to stop, the values to load or store, and when to wake. :func:`holdfast.core.apply.start`
raises attempts once capacity is granted.

It may know frozen values (``holdfast.model``) and nothing else: no ledger, store, executor,
setting, clock, file, socket or randomness. The engine's loop carries plans out, and is the one
place where a failure of the core is contained.
"""
