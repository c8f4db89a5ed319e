"""Tables as Markdown, LaTeX, CSV, HTML and in the terminal."""
