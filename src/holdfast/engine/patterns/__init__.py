"""What each combinator makes of its regions' ends, a file each; all implement :class:`holdfast.engine.flow.Pattern`."""
