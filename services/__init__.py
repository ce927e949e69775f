"""The use cases; all rules about money live here or in the models."""
