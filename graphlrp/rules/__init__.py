"""Rules over messages, selectors of mappings, composites and presets."""
