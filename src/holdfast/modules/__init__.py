"""Where users' code lives: how its modules are named, found and imported, the same way in the
runner and in its workers."""
