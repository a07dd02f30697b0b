"""HTML pages that are opened as files, without a server: what they share, and single ones."""
