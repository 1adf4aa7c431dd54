"""A search over settings: what may vary, which values come next, and what is known of each trial."""
