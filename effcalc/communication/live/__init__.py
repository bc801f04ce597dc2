"""Real ranks: train over a process group, list its collectives and count what it sends."""
