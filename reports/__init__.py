"""From results on disk to pages that people and machines read. Knows the documents of a results directory, and nothing of how they came to be."""
