"""What happens to an item, in order. Knows contracts only: no database, no process, no socket."""
