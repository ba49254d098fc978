"""The HTML pages, and the same content as JSON at the same URLs."""
