"""Models, canonicalisation, the graph of mappings, facts about values, and the emitter of nodes."""
