"""The plugin contract, its manager, and the built-in families of mappings."""
