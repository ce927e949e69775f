"""What a guest's bank asks back: how a dispute opens, what it moves, what is said to it, and how it ends."""
