"""How money leaves for the bank: when by itself, what becomes of it on the way, and what it was made of."""
